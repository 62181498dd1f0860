"""People who annotate in a tool, simulated: the files that the tool would give back."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seg_al.annotation.base import UNTOUCHED, AnnotationFormat, ToAnnotate
from seg_al.annotation.coco import Coco
from seg_al.annotation.cvat import Cvat
from seg_al.annotation.label_studio import LabelStudio
from seg_al.annotation.masks import PngMasks
from seg_al.data.images import image_size

FORMATS: tuple[AnnotationFormat, ...] = (LabelStudio(), Cvat(), Coco(), PngMasks())


def finished(
    format: AnnotationFormat,
    images: Mapping[str, Path],
    mask: Callable[[str], np.ndarray],
    class_names: Sequence[str],
    palette: np.ndarray,
    to: Path,
) -> Path:
    """Return the file a tool would give back after a person has given these images these masks.

    Args:
        images: files by id.
        mask: the mask of an id, (H, W) uint8 train ids, 255 = void.
        to: a new folder.
    """
    tasks = [ToAnnotate(name, path, image_size(path), lambda name=name: mask(name)) for name, path in images.items()]
    to.mkdir(parents=True)
    format.export(iter(tasks), class_names, palette, to)
    if isinstance(format, LabelStudio):
        rows = [row for file in sorted(to.glob("*.json")) for row in json.loads(file.read_text(encoding="utf-8"))]
        for number, row in enumerate(rows):
            row["id"] = number
            row["annotations"] = [{"id": 1, "was_cancelled": False, "result": row.pop("predictions")[0]["result"]}]
        (to / "export.json").write_text(json.dumps(rows), encoding="utf-8")
        return to / "export.json"
    if isinstance(format, Coco):
        return next(to.rglob("*.json"))
    if isinstance(format, Cvat):
        return next(file for file in sorted(to.glob("*.zip")) if _has_masks(file))
    return to / "masks"


def _has_masks(file: Path) -> bool:
    with zipfile.ZipFile(file) as archive:
        return any(name.startswith("SegmentationClass/") for name in archive.namelist())


_RNG = np.random.default_rng(0)
MASKS: dict[str, np.ndarray | None] = {
    "partial": _RNG.choice(np.array([0, 1, 2, 254, 255], np.uint8), (7, 9)),
    "all void": np.full((4, 5), 255, np.uint8),
    "one class": np.full((4, 5), 1, np.uint8),
    "night/ä ö": np.full((2, 2), 2, np.uint8),
    "night/deep/日本 x.y": np.array([[0, 1], [2, 255]], np.uint8),
    "wide": _RNG.integers(0, 3, (3, 4000), np.uint8),
    "tall": _RNG.integers(0, 3, (4000, 3), np.uint8),
    "pixel": np.array([[2]], np.uint8),
}
"""Masks of three classes by id."""


def masks_of_all_kinds() -> dict[str, tuple[np.ndarray, int]]:
    """Return masks by id, each with its number of classes."""
    rng = np.random.default_rng(0)
    partly = rng.integers(0, 3, (9, 7)).astype(np.uint8)
    partly[2:5] = UNTOUCHED
    return {
        "random": (rng.choice([0, 1, 2, 255], (13, 17)).astype(np.uint8), 3),
        "void": (np.full((5, 6), 255, np.uint8), 3),
        "wide": (np.repeat(rng.integers(0, 3, (3, 40)), 100, axis=1).astype(np.uint8), 3),
        "tall": (np.repeat(rng.integers(0, 3, (40, 3)), 100, axis=0).astype(np.uint8), 3),
        "pixel": (np.array([[2]], np.uint8), 3),
        "partly": (partly, 3),
        "many": (rng.permutation(200).reshape(10, 20).astype(np.uint8), 200),
        "most": (np.arange(256, dtype=np.uint8).reshape(16, 16), 254),
    }


def to_annotate(root: Path, id: str, mask: np.ndarray | None, size: tuple[int, int] = (4, 5)) -> ToAnnotate:
    """Return an image, written below a folder whose name has a space, with a mask as suggestion, or without."""
    size = size if mask is None else (mask.shape[0], mask.shape[1])
    path = root / "the pool" / f"{id}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1]).save(path)
    return ToAnnotate(id=id, image=path, size=size, suggestion=None if mask is None else lambda: mask)


def read_all(format: AnnotationFormat, source: Path, class_names: Sequence[str]) -> dict[str, np.ndarray | None]:
    """Return all masks that came back, by id; each comes once."""
    items = list(format.read(source, class_names))
    assert len({item.id for item in items}) == len(items)
    return {item.id: item.mask for item in items}


def assert_same(found: Mapping[str, np.ndarray | None], masks: Mapping[str, np.ndarray | None]) -> None:
    """Check that the same masks came back."""
    assert found.keys() == masks.keys()
    for id, mask in masks.items():
        if mask is None:
            assert found[id] is None
        else:
            assert found[id].dtype == np.uint8 and found[id].tolist() == mask.tolist(), id
