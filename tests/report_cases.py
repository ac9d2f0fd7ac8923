"""A small table with results and SR images, without a training: what the tests of pages are made from."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
import photos
import yaml

from srkd_plugin.images.matlab_resize import downscale, upscale
from srkd_plugin.report.source import Source
from srkd_plugin.tables.plan import plan_runs, read_table
from srkd_plugin.tables.results import of_finished
from srkd_plugin.tables.runner import Runner
from srkd_plugin.utils.files import write_json

EVIL = "<img src=x onerror=alert(1)> </script><script>alert(2)</script> \"quoted\" 'single' {{ 7 * 7 }} & more"
STRENGTHS = {"teacher": 1.0, "none": 0.3, "good": 0.6, "late": 0.1}
"""How far each system's images are from bicubic towards HR."""
SETS = {"S": ("cat", "cat_1"), "U": ("tree", "sea")}


def write_table(root: Path, label: str = "good one", title: str = "Methods") -> Path:
    """Write a table's file, its options and its test sets; the file."""
    student: dict[str, Any] = {"name": "s", "scale": 2, "network_g": {"type": "EDSR"}, "train": {"total_iter": 2000}}
    student["datasets"] = {"train": {"type": "PairedImageDataset"}}
    test = {"name": "t", "scale": 2, "path": {}, "val": {}, "network_g": {}}
    rows = {
        "none": {"file": "student.yml", "label": "no distillation"},
        "good": {"file": "student.yml", "label": label, "set": {"train": {"pixel_opt": {"loss_weight": 2.0}}}},
        "late": {"file": "student.yml", "set": {"train": {"x": label}}},
    }
    content = {
        "name": "t",
        "seeds": [0, 1],
        "baseline": "none",
        "teacher": {"file": "student.yml", "seed": 7},
        "methods": rows,
        "groups": {"main": {"title": title}},
        "pairs": [["good", "none"]],
        "sets": {name: {"dataroot_gt": f"data/{name}/HR", "dataroot_lq": f"data/{name}/LR"} for name in SETS},
    }
    file = root / "options/tables/t.yml"
    file.parent.mkdir(parents=True)
    for path, options in ((file, content), (root / "options/student.yml", student)):
        path.write_text(yaml.safe_dump(options, sort_keys=False))
    (root / "options/test_student.yml").write_text(yaml.safe_dump(test))
    for number, (name, image) in enumerate((name, image) for name, images in SETS.items() for image in images):
        for side in ("HR", "LR"):
            (root / "data" / name / side).mkdir(parents=True, exist_ok=True)
        hr = photos.photo(number, 96, 128)
        cv2.imwrite(str(root / "data" / name / "HR" / f"{image}.png"), hr)
        cv2.imwrite(str(root / "data" / name / "LR" / f"{image}.png"), downscale(hr, 2))
    return file


def finish(root: Path, file: Path, methods: tuple[str, ...] = ("teacher", "none", "good")) -> Source:
    """Write images, logs and records of some rows as if their runs had ended; what a page is made of."""
    from basicsr.metrics import calculate_psnr

    table = read_table(file)
    machine = Runner(root, root / "tables/t")
    runs = plan_runs(table, file)
    for run in (run for run in runs if run.method in methods):
        psnr: dict[str, dict[str, dict[str, float]]] = {"run": {}, "bicubic": {}}
        for name, images in SETS.items():
            folder = root / "results" / run.test["name"] / "visualization" / name
            folder.mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images):
                hr = cv2.imread(str(root / "data" / name / "HR" / f"{image}.png"))
                bicubic = upscale(cv2.imread(str(root / "data" / name / "LR" / f"{image}.png")), 2)
                share = STRENGTHS[run.method] + 0.02 * run.seed + 0.05 * number
                made = np.clip(bicubic + share * 0.5 * (hr.astype(float) - bicubic), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f"{image}_{run.test['name']}.png"), made)
                for system, one in (("run", made), ("bicubic", bicubic)):
                    found = calculate_psnr(one, hr, crop_border=2, test_y_channel=True)
                    psnr[system].setdefault(name, {})[image] = round(found, 4)
        curve = [(i, 30 + STRENGTHS[run.method] + i / 1000) for i in (1000, 2000)]
        about = {"parameters": 1234, "iterations": 2000, "seconds": 9.0, "cpu_seconds": 8.0, "cache_cpu_seconds": 0.0}
        options = {"train": run.train, "test": run.test}
        write_json(machine.record_file(run), {"options": options, "psnr": psnr, "curve": curve, **about})
        log = machine.log_file(run, "train")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("Version Information: \n\tBasicSR: 1.4.2\n\tPyTorch: 2.1.0\n\tTorchVision: 0.16.0\n")
    return Source(file, table, of_finished(runs, machine.record_file)[1], machine=machine)


class Page(HTMLParser):
    """The elements of a page: ``(tag, attributes, text directly in it)``, in their order."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Optional[str]], list[str]]] = []
        self._open: list[int] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        """Take note of an element."""
        self.elements.append((tag, dict(attrs), []))
        if tag not in self.VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        """Take note of one that is closed at once."""
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost, which has to be of this name."""
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        """Take note of text."""
        if self._open:
            self.elements[self._open[-1]][2].append(data)

    def all(self, tag: str, **wanted: str) -> list[tuple[dict[str, Optional[str]], str]]:
        """``(attributes, text)`` of the elements of a name that have these attributes."""
        return [
            (attributes, "".join(text))
            for name, attributes, text in self.elements
            if name == tag and all(attributes.get(key) == value for key, value in wanted.items())
        ]

    @property
    def text(self) -> str:
        """All text outside scripts and styles."""
        return " ".join("".join(text) for tag, _, text in self.elements if tag not in ("script", "style"))
