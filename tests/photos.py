"""Small sets of synthetic photographs for the tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from srkd_plugin.images.matlab_resize import downscale


def photo(seed: int, h: int = 48, w: int = 64) -> np.ndarray:
    """A colourful picture, unlike that of any other seed: smooth blobs with some texture; ``(h, w, 3)`` BGR uint8."""
    rng = np.random.default_rng(seed)
    blobs = cv2.resize(rng.uniform(0, 255, (5, 6, 3)), (w, h), interpolation=cv2.INTER_CUBIC)
    return np.clip(blobs + rng.normal(0, 6, (h, w, 3)), 0, 255).astype(np.uint8)


def write_photos(folder: Path, count: int = 3, h: int = 48, w: int = 64, first_seed: int = 0) -> Path:
    """Write ``p0.png``, ``p1.png`` ... and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        assert cv2.imwrite(str(folder / f"p{number}.png"), photo(first_seed + number, h, w))
    return folder


def write_pairs(root: Path, count: int = 3, scale: int = 2, h: int = 48, w: int = 64) -> tuple[Path, Path]:
    """Write HR and LR folders of photographs and return them."""
    hr, lr = write_photos(root / "HR", count, h, w), root / "LR"
    lr.mkdir()
    for path in sorted(hr.iterdir()):
        assert cv2.imwrite(str(lr / path.name), downscale(cv2.imread(str(path)), scale))
    return hr, lr
