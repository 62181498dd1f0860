"""CamVid: driving video, 11 classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_al.data.base import IGNORE, SegmentationDataset, Split
from seg_al.data.files import FileSamples, Problems, find_root, paired, scan_images, scan_masks
from seg_al.data.masks import LabelIds

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
VOID = 11


class CamVid(SegmentationDataset):
    """CamVid (Brostow et al. 2009) in the 11 classes and the split of SegNet: 367 train, 101 val, 233 test.

    Either ``<split>/images`` and ``<split>/masks``, or SegNet's own ``<split>`` and ``<split>annot``; 480x360
    pixels, mask value 11 is void. All val frames come from a video that is in train too, and so do 62 test
    frames: only the 171 of ``Seq05VD`` show unseen streets (see `sequence`).
    """

    root: str | Path = "camvid"
    """Folder of the data set; a relative one is looked up in $SEG_AL_DATA too."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The 11 class names."""
        return CLASSES

    @property
    def palette(self) -> np.ndarray:
        """CamVid's own colours, (11, 3) uint8 RGB."""
        return np.array(
            [
                (128, 128, 128),
                (128, 0, 0),
                (192, 192, 128),
                (128, 64, 128),
                (60, 40, 222),
                (128, 128, 0),
                (192, 128, 128),
                (64, 64, 128),
                (64, 0, 128),
                (64, 64, 0),
                (0, 128, 192),
            ],
            dtype=np.uint8,
        )

    def samples(self, split: Split) -> FileSamples:
        """List one split; ids are frame names, e.g. ``0001TP_006690``."""
        root = find_root(self.root)
        places = (
            (f"{split}", f"{split}annot") if (root / "trainannot").is_dir() else (f"{split}/images", f"{split}/masks")
        )
        problems = Problems()
        known = {i: i for i in range(len(CLASSES))} | {VOID: IGNORE}
        samples = paired(
            scan_images(root / places[0], problems),
            scan_masks(root / places[1], problems),
            LabelIds(known, "CamVid masks hold 0-10 and void 11; get the 11-class version"),
            problems,
        )
        problems.raise_any(f"{root}, {split}")
        return samples


def sequence(sample_id: str) -> str:
    """Return the video a frame comes from, e.g. ``Seq05VD`` of ``Seq05VD_f00000``."""
    return sample_id.partition("_")[0]
