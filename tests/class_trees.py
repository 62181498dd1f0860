"""Stand-in images in a folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, seed: int, size: tuple[int, int] = (8, 10), gray: bool = False) -> np.ndarray:
    """Write noise and return it as RGB, as a lossless file gives it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size if gray else (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return np.repeat(pixels[..., None], 3, 2) if gray else pixels


def write_tree(root: Path, counts: dict[str, int], suffix: str = ".png", pattern: str = "{:03d}") -> None:
    """Write so many images for each class."""
    for seed, (name, count) in enumerate(counts.items()):
        for number in range(count):
            write_image(root / name / f"{pattern.format(number)}{suffix}", 1000 * seed + number)
