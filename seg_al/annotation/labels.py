"""What classes, void and suggestions have to be like in every annotation tool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seg_al.annotation.base import UNTOUCHED, VOID, ToAnnotate
from seg_al.config import UserError, nearest
from seg_al.data.base import IGNORE

VOID_COLOR = (224, 224, 192)
"""Colour of void pixels, as in PASCAL VOC."""


def check_count(class_names: Sequence[str]) -> None:
    """Raise a UserError for more classes than fit beside the two values with a meaning of their own."""
    if len(class_names) > UNTOUCHED:
        raise UserError(
            f"{len(class_names)} classes, but masks to annotate hold at most {UNTOUCHED}: {UNTOUCHED} means not "
            f"labeled, {IGNORE} void; merge classes"
        )


def check_void(class_names: Sequence[str]) -> None:
    """Raise a UserError where classes cannot be labels beside `VOID`: too many, or one of that name."""
    check_count(class_names)
    if VOID in class_names:
        raise UserError(f"the class {VOID!r} has the name of the label for pixels that count for nothing; rename it")


def check_names(class_names: Sequence[str]) -> None:
    """Raise a UserError as `check_void`, and where names are not distinct or empty."""
    check_void(class_names)
    if len(set(class_names)) < len(class_names) or not all(name.strip() for name in class_names):
        raise UserError("class names have to be distinct and not empty, to be labels of an annotation tool")


def train_id(label: str, class_names: Sequence[str], where: str) -> int:
    """Return what `label` is in a mask, its class's train id or 255; UserError naming the nearest one otherwise."""
    if label == VOID:
        return IGNORE
    if label not in class_names:
        raise UserError(f"{where}: label {label!r} is no class{nearest(label, [*class_names, VOID])}")
    return class_names.index(label)


def suggested(image: ToAnnotate) -> np.ndarray:
    """Return the suggestion of an image that has one, checked to fit it."""
    assert image.suggestion is not None
    mask = image.suggestion()
    if mask.shape != image.size or mask.dtype != np.uint8:
        raise ValueError(f"{image.id}: suggestion {mask.dtype} {mask.shape} for an image of {image.size}")
    return mask
