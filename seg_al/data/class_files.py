"""Samples of whole-image classes: in a folder a class, or in one array."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from seg_al.config import UserError
from seg_al.data.base import Samples
from seg_al.data.files import Divisible, ImageFiles, Problems, contents, require_folder, walk_images
from seg_al.data.images import IMAGE_SUFFIXES


class ClassSamples(Samples, Divisible, Protocol):
    """Samples with a class each, of which some can be taken."""


@dataclass(eq=False)
class ClassFiles(ImageFiles):
    """Samples of one split as image files of known classes (see `seg_al.data.base.Samples`)."""

    classes: np.ndarray
    """Class index of each image, (N,) int64."""

    sizes: np.ndarray | None = None
    """Height and width of each image where they are known, (N, 2); 0 where they are not."""

    def target(self, index: int) -> np.ndarray:
        """Return the index of the image's class, an int64 array of shape ()."""
        return np.asarray(self.classes[index], dtype=np.int64)

    def probe(self, index: int) -> tuple[int, int]:
        """Return height and width of an image: as known, or after a cheap look at its file."""
        if self.sizes is not None and self.sizes[index].all():
            return int(self.sizes[index, 0]), int(self.sizes[index, 1])
        return super().probe(index)

    def subset(self, indices: Iterable[int]) -> ClassFiles:
        """Return the samples at these positions, in that order."""
        chosen = list(indices)
        return ClassFiles(
            ids=tuple(self.ids[i] for i in chosen),
            images=tuple(self.images[i] for i in chosen),
            classes=self.classes[chosen],
            sizes=None if self.sizes is None else self.sizes[chosen],
        )


@dataclass(eq=False)
class ArraySamples:
    """Samples of one split whose images all lie in memory (see `seg_al.data.base.Samples`)."""

    ids: Sequence[str]

    pixels: np.ndarray
    """Images (M, H, W, 3) uint8 RGB; splits share one array."""

    classes: np.ndarray
    """Class index of each of them, (M,) int64."""

    rows: np.ndarray
    """Where in the arrays each sample lies, (N,) int64."""

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> np.ndarray:
        """Return the image, (H, W, 3) uint8 RGB."""
        return self.pixels[self.rows[index]].copy()

    def target(self, index: int) -> np.ndarray:
        """Return the index of the image's class, an int64 array of shape ()."""
        return np.asarray(self.classes[self.rows[index]], dtype=np.int64)

    def subset(self, indices: Iterable[int]) -> ArraySamples:
        """Return the samples at these positions, in that order; pixels are not copied."""
        chosen = list(indices)
        return ArraySamples(tuple(self.ids[i] for i in chosen), self.pixels, self.classes, self.rows[chosen])


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder, sorted; hidden ones are left out.

    Raises:
        UserError: `folder` does not exist, or holds no folder.
    """
    require_folder(folder)
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: expected a folder for each class, found {contents(folder)}; check root")
    return tuple(names)


def scan_classes(
    folder: Path, classes: Sequence[str], problems: Problems, root: Path, allow_empty: bool = False
) -> ClassFiles:
    """Find the images in a folder a class, class by class, sorted by id: the path below `root` without suffix.

    A class's folder is searched with its subfolders. Noted in `problems` are folders of no class, classes
    without an image (unless `allow_empty`), images outside of the class folders, and what `walk_images` notes.

    Args:
        classes: names of the classes' folders; a position is a class index.

    Raises:
        UserError: `folder` does not exist, cannot be listed, or holds no folder.
    """
    for name in class_folders(folder):
        if name not in classes:
            problems.add("folders of no class; remove or rename them", str(folder / name))
    with os.scandir(folder) as entries:
        for name in sorted(entry.name for entry in entries if entry.is_file()):
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                problems.add("images beside the folders of the classes; move each into one", str(folder / name))
    ids: list[str] = []
    images: list[str] = []
    counts = []
    for name in classes:
        place = folder / name
        found = walk_images(place, problems, base=root) if place.is_dir() else {}
        if not found and not allow_empty:
            problems.add("classes without an image; add some, or remove the class", str(place))
        ids += found
        images += map(str, found.values())  # a million Path objects would fill half a gigabyte
        counts.append(len(found))
    return ClassFiles(tuple(ids), tuple(images), np.repeat(np.arange(len(classes)), counts))
