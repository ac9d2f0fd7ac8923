"""VGG's weights in torch's cache: downloaded into it by a run, and only asked for by a check."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional
from urllib.request import urlopen

import torch

from srkd_plugin.utils.files import open_atomically
from srkd_plugin.utils.terminal import progress_bar

CONNECT_SECONDS = 20
"""How long the server may be silent: behind a firewall that drops connections the download must fail, and not wait."""

_planned: Optional[list[str]] = None
"""What a run would download, while nothing is downloaded."""


def torch_cache_file(url: str) -> Path:
    """Path at which torch keeps, or would keep, the weights that it downloads from an address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]


@contextmanager
def nothing_downloaded() -> Iterator[list[str]]:
    """Let nothing be downloaded meanwhile, for checks of what a run would do; networks keep random weights.

    Yields:
        A line for each file that a run would download.
    """
    global _planned
    before, _planned = _planned, []
    try:
        yield _planned
    finally:
        _planned = before


def is_only_planned() -> bool:
    """Whether a download is only to be planned (:func:`nothing_downloaded`)."""
    return _planned is not None


def plan_download(url: str) -> None:
    """Ask the server for a file's header, and note that a run downloads the file.

    Raises:
        OSError: The server cannot be reached, or has no such file.
    """
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=CONNECT_SECONDS):
        pass  # URLError and HTTPError are OSErrors
    file = torch_cache_file(url)
    line = f"VGG's weights are not at {file}: the run downloads them from {url} before it trains (about 550 MB)"
    if _planned is not None and line not in _planned:
        _planned.append(line)


def download(url: str) -> None:
    """Download a file into torch's cache, whole or not at all; torch.hub's function has no timeout of the connection.

    Raises:
        OSError: It cannot be had, or its sha256 does not begin as its name says.
    """
    file = torch_cache_file(url)
    file.parent.mkdir(parents=True, exist_ok=True)
    digest, beginning = hashlib.sha256(), file.stem.rsplit("-", 1)[1]
    with urlopen(url, timeout=CONNECT_SECONDS) as response, open_atomically(file) as out:
        total = int(response.headers.get("Content-Length") or 0)
        shown: dict[str, Any] = {"desc": file.name, "unit": "B", "unit_scale": True, "unit_divisor": 1024}
        with progress_bar(total=total or None, in_logs=True, **shown) as progress:
            while chunk := response.read(1 << 20):
                digest.update(chunk)
                out.write(chunk)
                progress.update(len(chunk))
        if not digest.hexdigest().startswith(beginning):
            raise OSError(f"what came has the sha256 {digest.hexdigest()}, and must begin with {beginning}")
