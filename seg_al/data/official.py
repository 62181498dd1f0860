"""Data sets whose official test labels are secret: val is held out of train, and the official val is the test."""

from __future__ import annotations

from pathlib import Path

from seg_al.config import UserError
from seg_al.data.base import Split
from seg_al.data.cityscapes_classes import CityscapesClasses
from seg_al.data.files import FileSamples, find_root, hold_out_val


class OfficialSplits(CityscapesClasses):
    """Base of Cityscapes and BDD100K: the splits of VAAL's Table 2 from the official train and val."""

    root: str | Path
    """Folder of the data set; a relative one is looked up in $SEG_AL_DATA too."""

    val_images: int
    """How many official train images are held out for val, always the same ones."""

    size: tuple[int, int] | None = (688, 688)
    """Height and width of the network's input; None keeps each image's own size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.val_images < 0:
            raise UserError(f"{type(self).__name__}.val_images must be 0 or more, not {self.val_images}")

    def samples(self, split: Split) -> FileSamples:
        """List one split: train and val part the official train, test is the official val."""
        root = find_root(self.root)
        if split == "test":
            return self.official(root, "val")
        return hold_out_val(self.official(root, "train"), self.val_images, type(self).__name__)[split]

    def official(self, root: Path, split: str) -> FileSamples:
        """List an official split below `root`."""
        raise NotImplementedError
