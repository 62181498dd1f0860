"""People who annotate in a tool, simulated: the files that the tool would give back."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from seg_al.annotation.base import AnnotationFormat, ToAnnotate
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
