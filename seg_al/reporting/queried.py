"""What was queried: which classes, how alike the images are, and pictures of them for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SHOWN = 24
"""Pictures kept of a query."""

COMPARED = 1000
"""Images of a query that are compared with each other; of larger queries, as many, evenly spread over the ranks."""

THUMBNAIL = 769
"""Numbers in what `thumbnail` returns."""

SIDE = 160
"""Longest side of a picture kept, in pixels."""


def class_counts(target: np.ndarray, classes: int) -> np.ndarray:
    """Return how many pixels of a mask are of each class, void left out, (C,) int64; a whole image's label counts 1."""
    return np.bincount(np.ravel(target), minlength=classes)[:classes]


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 as 16 x 16 pixels in colour, less their mean, of length 1: (769,) float32.

    The dot product of two is their correlation. One of a single value, which has none, is (0, ..., 0, 1): alike to
    its like, to no other.
    """
    row = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).ravel().astype(np.float32)
    row -= row.mean()
    length = float(np.linalg.norm(row))
    flat = length < 1e-3
    return np.append(row * 0 if flat else row / length, np.float32(flat))


def redundancy(images: Iterable[np.ndarray]) -> float:
    """Return how alike images are: the mean over them of the greatest correlation with another one.

    Correlated are thumbnails of 16 x 16 pixels in colour, so near-duplicates (frames of a video) come close to 1,
    whatever a network makes of them. NaN for a single image.

    Args:
        images: n of them, at least one, each (H, W, 3) uint8.
    """
    rows = np.stack([thumbnail(image) for image in images])
    if len(rows) < 2:
        return float("nan")
    alike = rows @ rows.T
    np.fill_diagonal(alike, -np.inf)
    return float(alike.max(1).mean())


def describe_query(
    image: Callable[[int], np.ndarray],
    target: Callable[[int], np.ndarray],
    indices: Sequence[int],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Return ``{"pixels": {class: count}, "images": {class: count}, "redundancy": ...}`` of a query.

    Args:
        image, target: read a sample's image and the oracle's label.
        indices: of the queried samples, best first.
    """
    counts = np.stack([class_counts(target(index), len(class_names)) for index in indices])
    compared = np.unique(np.linspace(0, len(indices) - 1, min(COMPARED, len(indices))).astype(int))
    return {
        "pixels": dict(zip(class_names, counts.sum(0).tolist(), strict=True)),
        "images": dict(zip(class_names, (counts > 0).sum(0).tolist(), strict=True)),
        # one at a time: a thousand would fill gigabytes
        "redundancy": redundancy(image(indices[k]) for k in compared),
    }


def write_pictures(folder: Path, pictures: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Write queried images, and the same with their labels, as ``001.jpg``, ``001_label.jpg``, ... by rank.

    Args:
        folder: made if it is missing.
        pictures: image and image with label, each (H, W, 3) uint8; kept at 160 pixels, smaller ones as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for rank, pair in enumerate(pictures, 1):
        for picture, suffix in zip(pair, ("", "_label"), strict=True):
            scale = min(1.0, SIDE / max(picture.shape[:2]))
            if scale < 1:
                size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
                picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
            (folder / f"{rank:03d}{suffix}.jpg").write_bytes(data.tobytes())
