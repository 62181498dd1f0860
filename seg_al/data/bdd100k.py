"""BDD100K, the 10,000 images with semantic segmentation: dashboard views, 19 classes."""

from __future__ import annotations

from pathlib import Path

from seg_al.config import UserError
from seg_al.data.base import IGNORE
from seg_al.data.cityscapes_classes import CITYSCAPES_CLASSES
from seg_al.data.files import FileSamples, Problems, contents, paired, scan_images, scan_masks
from seg_al.data.masks import LabelIds
from seg_al.data.official import OfficialSplits

LAYOUTS = (
    ("images/10k/{}", "labels/sem_seg/masks/{}", ""),
    ("seg/images/{}", "seg/labels/{}", "_train_id"),
)
"""Images, masks and the masks' ending: as published today, and as published first."""


class BDD100K(OfficialSplits):
    """BDD100K 10K (Yu et al. 2020), in either published layout, which is found out.

    Train and val part the official train images (7000), and test is the official val (1000): the labels of
    the official test are not public. VAAL's Table 2 has 7000 + 1000 and a test set of 2000, which cannot be
    rebuilt from what is published; here val is held out of the pool, which leaves 6000 of it.
    """

    root: str | Path = "bdd100k"
    """Folder of the data set; a relative one is looked up in $SEG_AL_DATA too."""

    val_images: int = 1000
    """How many official train images are held out for val, always the same ones."""

    def official(self, root: Path, split: str) -> FileSamples:
        """List an official split; ids are image names, e.g. ``0004a4c0-d4dff0ad``."""
        layout = next((layout for layout in LAYOUTS if (root / layout[0].format(split)).is_dir()), None)
        if layout is None:
            expected = " or ".join(images.format(split) for images, _, _ in LAYOUTS)
            raise UserError(f"{root}: expected {expected}, found {contents(root)}; set root to BDD100K's top folder")
        images, masks, ending = layout
        problems = Problems()
        # Masks are palette images whose indices are train ids, not BDD100K's own label ids.
        known = {i: i for i in range(len(CITYSCAPES_CLASSES))} | {IGNORE: IGNORE}
        samples = paired(
            scan_images(root / images.format(split), problems),
            scan_masks(root / masks.format(split), problems, ending),
            LabelIds(known, "BDD100K masks hold train ids; use labels/sem_seg/masks, not its colormaps"),
            problems,
        )
        problems.raise_any(f"{root}, official {split}")
        return samples
