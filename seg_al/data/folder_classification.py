"""Anyone's images in a folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from seg_al.config import UserError
from seg_al.data.base import Split
from seg_al.data.class_files import ClassFiles, class_folders, scan_classes
from seg_al.data.classification import ClassificationDataset
from seg_al.data.files import Problems, check_fractions, find_root, hold_out, some

SPLITS: tuple[Split, ...] = get_args(Split)


class FolderClassification(ClassificationDataset):
    """Images of one's own in a folder for each class, in one of these layouts.

    - ``root/<class>/``: split by `fractions`;
    - ``root/{train,val,test}/<class>/``; val and test, where they are not given, are drawn from train by
      `fractions`.

    Folders of classes are searched with their subfolders.
    """

    root: str | Path
    """Folder of the data set; a relative one is looked up in $SEG_AL_DATA too."""

    classes: tuple[str, ...] | None = None
    """Names of the classes' folders, in the order of the class indices; None: all there are in train, sorted."""

    size: tuple[int, int] | None = (224, 224)
    """Height and width of the network's input; None keeps each image's own size."""

    fractions: tuple[float, float] = (0.1, 0.2)
    """Shares of val and test, of all images, where these splits are not given. 0 leaves one empty."""

    split_seed: int = 0
    """Which images `fractions` draws, whatever their classes: a function of this seed and the ids."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fractions(self.fractions, "FolderClassification.fractions")
        names = self.classes or ()
        if self.classes is not None and len(names) < 2:
            raise UserError(f"FolderClassification.classes names {len(names)} class; at least two are needed")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"FolderClassification.classes names {some(twice)} more than once")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names, as given or as their folders are called.

        Raises:
            UserError: there are fewer than two folders.
        """
        if self.classes is not None:
            return self.classes
        place = self._place("train")
        names = class_folders(place)
        if len(names) < 2:
            raise UserError(f"{place}: holds a folder for {names[0]!r} alone, but at least two classes are needed")
        return names

    def samples(self, split: Split) -> ClassFiles:
        """List one split, class by class; ids are the paths below root, e.g. ``train/cat/007``."""
        given = [name for name in SPLITS if name == "train" or self._place(name) != self._place("train")]
        if split != "train" and split in given:
            return self._listed(split)
        train = self._listed("train")
        count, parts = len(train), {}
        for missing, fraction in zip(("val", "test"), self.fractions, strict=True):
            if missing not in given:
                train, parts[missing] = hold_out(train, round(fraction * count), self.split_seed)
        return {"train": train, **parts}[split]

    def _place(self, split: Split) -> Path:
        """Return the folder whose folders are the classes of a split; train's, where it is not given."""
        root = find_root(self.root)
        train = root / "train"
        # "train" may also be a class: then it holds images, no folders
        if not (train.is_dir() and any(entry.is_dir() for entry in train.iterdir())):
            return root
        return root / split if (root / split).is_dir() else train

    def _listed(self, split: Split) -> ClassFiles:
        place, problems = self._place(split), Problems()
        samples = scan_classes(place, self.class_names, problems, find_root(self.root), allow_empty=split != "train")
        problems.raise_any(str(place))
        return samples
