"""Cityscapes: street scenes of 50 cities, 19 classes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from seg_al.data.base import IGNORE
from seg_al.data.cityscapes_classes import CITYSCAPES_CLASSES
from seg_al.data.files import FileSamples, Problems, paired, scan_images, scan_masks
from seg_al.data.masks import LabelIds
from seg_al.data.official import OfficialSplits

TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label ids of the 19 classes, in the order of their train ids."""

# The other ids from 0 to 33 are not evaluated; -1 (license plate) is 255 in a file of bytes.
LABEL_IDS = dict.fromkeys([*range(34), 255], IGNORE) | {label: train for train, label in enumerate(TRAIN_IDS)}


class Cityscapes(OfficialSplits):
    """Cityscapes (Cordts et al. 2016), fine annotations, in the official layout.

    As in VAAL's Table 2, train and val part the official train images (2675 + 300 of 2975), and test is the
    official val (500), whose labels are public. Layout:
    ``leftImg8bit/<split>/<city>/*_leftImg8bit.png``, ``gtFine/<split>/<city>/*_gtFine_<labels>.png``.
    """

    root: str | Path = "cityscapes"
    """Folder of the data set; a relative one is looked up in $SEG_AL_DATA too."""

    labels: Literal["labelIds", "labelTrainIds"] = "labelIds"
    """Which masks to read: label ids as downloaded, converted by the official table, or train ids as written
    by cityscapesScripts."""

    val_images: int = 300
    """How many official train images are held out for val, always the same ones."""

    def official(self, root: Path, split: str) -> FileSamples:
        """List an official split; ids are city and frame, e.g. ``aachen/aachen_000000_000019``."""
        known = LABEL_IDS
        if self.labels == "labelTrainIds":
            known = {i: i for i in range(len(CITYSCAPES_CLASSES))} | {IGNORE: IGNORE}
        problems = Problems()
        samples = paired(
            scan_images(root / "leftImg8bit" / split, problems, "_leftImg8bit"),
            scan_masks(root / "gtFine" / split, problems, f"_gtFine_{self.labels}"),
            LabelIds(known, "a mask of another kind; check Cityscapes.labels and download gtFine again"),
            problems,
        )
        problems.raise_any(f"{root}, official {split}")
        return samples
