"""A student's card as one page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from srkd_plugin.utils import markdown
from srkd_plugin.utils.byte_sizes import readable_size


def page(card: Mapping[str, Any]) -> str:
    """The page of a card.

    Args:
        card: What :func:`srkd_plugin.export.card.make_card` makes.
    """
    parts = [f"# {markdown.escaped(card['name'])}", _about(card), "## Files", _files(card)]
    if card["benchmarks"]:
        parts += ["## PSNR and SSIM", "Y channel, border of the scale cropped, SR rounded to 8 bits.", _figures(card)]
    h, w = card["latency"]["lr"]
    parts += ["## Latency", f"LR {h}x{w}; {card['latency']['note']}.", _latency(card)]
    return "\n\n".join(parts) + "\n"


def _about(card: Mapping[str, Any]) -> str:
    network = card["network"]
    arguments = ", ".join(f"{name} {value}" for name, value in network.items() if name != "type")
    lines = [f"{network['type']} x{card['scale']}, {card['parameters']:,} parameters ({arguments})", *_origin(card)]
    return "\n".join(f"- {markdown.escaped(line)}" for line in lines)


def _origin(card: Mapping[str, Any]) -> Iterator[str]:
    weights, teacher, options = card["weights"], card["teacher"], card["options"]
    iteration = f", iteration {card['iteration']:,}" if card["iteration"] is not None else ""
    yield f"run: {card['run']}{iteration}; {weights['key']} of {weights['file']}, sha256 {weights['sha256']}"
    if teacher is not None:
        sha256 = teacher["sha256"] or "not known: the file is not here"
        yield f"teacher: {teacher['type']}, {teacher['file']}, sha256 {sha256}"
    yield f"data: {', '.join(f'{name} ({phase})' for phase, name in card['data'].items()) or 'not said'}"
    yield f"options: {options['file']}, sha256 {options['sha256']}"
    field = card["receptive_field"]
    yield f"receptive field: {f'{field} LR pixels to each side' if field is not None else 'the whole image'}"
    yield "versions: " + ", ".join(
        f"{name} {value}" for name, value in {**card["versions"], **card["packages"]}.items()
    )


def _files(card: Mapping[str, Any]) -> str:
    rows = []
    for one in card["files"]:
        size = readable_size(sum(file["bytes"] for file in one["files"].values()))
        parts = [part for text in (one["verified"], *one["notes"]) for part in text.split("; ")]
        about = markdown.Markdown("<br>".join(map(markdown.escaped, parts)))
        rows.append([", ".join(one["files"]), one["format"], size, f"{one['max_error']:.1e}", about])
    return markdown.table(["file", "format", "size", "max error", "verified"], rows)


def _figures(card: Mapping[str, Any]) -> str:
    sets = card["benchmarks"]
    formats = [name for name in next(iter(sets.values())) if name != "images"]
    rows = [
        [name, *(f"{figures[name]['psnr']:.3f} / {figures[name]['ssim']:.4f}" for figures in sets.values())]
        for name in formats
    ]
    return markdown.table(["dB / SSIM", *(f"{name} ({one['images']})" for name, one in sets.items())], rows)


def _latency(card: Mapping[str, Any]) -> str:
    latency = card["latency"]
    rows = [[name, f"{ms:.1f}", f"{latency['ratio'][name]:.2f}"] for name, ms in latency["milliseconds"].items()]
    return markdown.table(["", "ms", "ratio to the first"], rows)
