"""The 19 classes of Cityscapes that are evaluated, in train-id order, and their official colours."""

from __future__ import annotations

import numpy as np

from seg_al.data.base import SegmentationDataset

CITYSCAPES_CLASSES: tuple[str, ...] = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
"""Names of the classes; the position of a name is its train id."""

CITYSCAPES_CATEGORIES: dict[str, tuple[str, ...]] = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}
"""The seven categories and their classes."""

CITYSCAPES_PALETTE: np.ndarray = np.array(
    [
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ],
    dtype=np.uint8,
)
"""Colours of the classes, (19, 3) uint8 RGB, read-only."""
CITYSCAPES_PALETTE.setflags(write=False)


class CityscapesClasses(SegmentationDataset):
    """Base of data sets that are labeled with these classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The 19 class names, in train-id order."""
        return CITYSCAPES_CLASSES

    @property
    def palette(self) -> np.ndarray:
        """Cityscapes' own colours, (19, 3) uint8 RGB."""
        return CITYSCAPES_PALETTE

    @property
    def categories(self) -> tuple[str, ...]:
        """The category of each class, in train-id order."""
        category = {name: category for category, names in CITYSCAPES_CATEGORIES.items() for name in names}
        return tuple(category[name] for name in CITYSCAPES_CLASSES)
