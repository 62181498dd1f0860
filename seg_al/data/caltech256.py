"""Caltech-256: photographs of 256 kinds of objects."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from seg_al.config import UserError
from seg_al.data.class_files import ClassFiles, class_folders, scan_classes
from seg_al.data.classification import ClassificationBenchmark
from seg_al.data.files import Problems, contents, find_root, hold_out

FOLDER = "256_ObjectCategories"
CLUTTER = "257.clutter"


class Caltech256(ClassificationBenchmark):
    """Caltech-256 (Griffin, Holub, Perona 2007), without its 257th class, clutter; gray images become RGB.

    The data set has no official split. First `test_per_class` images of each class are set aside for the test
    (2560), then val is held out of the rest. VAAL's Table 2 counts 27607 + 3000 images for train and val, which
    are all 30607 of the data set, with clutter and with its own test images; here the pool holds what is left of
    the 256 classes. Layout: ``root/256_ObjectCategories/NNN.name/NNN_NNNN.jpg``, root itself may be that folder,
    or torchvision's.
    """

    root: str | Path = "caltech256"
    """Folder of the data set; a relative one is looked up in $SEG_AL_DATA too."""

    size: tuple[int, int] | None = (224, 224)
    """Height and width of the network's input; None keeps each image's own size."""

    val_images: int = 3000
    """How many of the images that are not for the test are held out for val: always the same ones."""

    test_per_class: int = 10
    """How many images of each class are set aside for the test: always the same ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_per_class < 1:
            raise UserError(f"Caltech256.test_per_class must be 1 or more, not {self.test_per_class}")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that are there, in the order of their numbers: ``ak47`` of ``001.ak47``."""
        return tuple(folder.partition(".")[2] or folder for folder in self._folders())

    def official(self, split: Literal["train", "test"]) -> ClassFiles:
        """List what is for the test, or the rest; ids are e.g. ``001.ak47/001_0001``."""
        place, folders, problems = self._place(), self._folders(), Problems()
        samples = scan_classes(place, (*folders, CLUTTER), problems, place, allow_empty=True)
        samples = samples.subset(np.flatnonzero(samples.classes < len(folders)).tolist())
        drawn: set[str] = set()
        for index, name in enumerate(folders):
            members = samples.subset(np.flatnonzero(samples.classes == index).tolist())
            if len(members) <= self.test_per_class:
                problems.add(
                    "classes that test_per_class leaves no image to train on; lower it, or remove them",
                    f"{name} has {len(members)}",
                )
            # not the seed of val, which would then get least of the classes that gave most
            drawn.update(hold_out(members, self.test_per_class, seed=2)[1].ids)
        problems.raise_any(str(place))
        return samples.subset(i for i, name in enumerate(samples.ids) if (name in drawn) == (split == "test"))

    def _folders(self) -> tuple[str, ...]:
        return tuple(name for name in class_folders(self._place()) if name != CLUTTER)

    def _place(self) -> Path:
        try:
            root = find_root(self.root)
        except UserError as error:
            raise UserError(f"{error}; {INSTRUCTIONS}") from None
        if root.name == FOLDER:
            return root
        for place in (root / FOLDER, root / "caltech256" / FOLDER):
            if place.is_dir():
                return place
        raise UserError(f"{root}: expected {FOLDER}/, found {contents(root)}; {INSTRUCTIONS}")


INSTRUCTIONS = f"fetch {FOLDER}.tar from https://data.caltech.edu/records/nyy15-4j048 and unpack it there"
