"""ImageNet (ILSVRC 2012): 1000 classes, 1.28 million images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from seg_al.config import UserError
from seg_al.data.class_files import ClassFiles, class_folders
from seg_al.data.classification import ClassificationBenchmark
from seg_al.data.files import contents, find_root
from seg_al.data.index import index_classes

MAPPING = "LOC_synset_mapping.txt"

INSTRUCTIONS = (
    "fetch ILSVRC2012's train and val images from https://image-net.org (a login is needed) and unpack them into "
    "train/<wnid>/ and val/<wnid>/"
)


class ImageNet(ClassificationBenchmark):
    """ImageNet (Russakovsky et al. 2015): 1153047 train + 128120 val, parts of the official train, as in
    VAAL's Table 2.

    The test split is the official val (50000), whose labels are public. Layout:
    ``root/{train,val}/<wnid>/*.JPEG``. Files are listed and looked at once, then remembered; see `index_classes`
    for where, and how to refresh it.
    """

    root: str | Path = "imagenet"
    """Folder of the data set; a relative one is looked up in $SEG_AL_DATA too."""

    size: tuple[int, int] | None = (224, 224)
    """Height and width of the network's input; None keeps each image's own size."""

    val_images: int = 128120
    """How many official train images are held out for val: always the same ones, whatever their classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The wnids, sorted; or, where root holds LOC_synset_mapping.txt, the first name of each in it.

        Two classes of one name (crane, the bird and the machine) have their wnid behind it.
        """
        root = self._root()
        wnids = class_folders(root / "train")
        if not (root / MAPPING).is_file():
            return wnids
        lines = (root / MAPPING).read_text(encoding="utf-8").splitlines()
        given = {wnid: text.partition(",")[0].strip() for wnid, _, text in (line.partition(" ") for line in lines)}
        names = [given.get(wnid, wnid) for wnid in wnids]
        often = Counter(names)
        return tuple(f"{name} ({wnid})" if often[name] > 1 else name for name, wnid in zip(names, wnids, strict=True))

    def official(self, split: Literal["train", "test"]) -> ClassFiles:
        """List the official train, or the official val; ids are e.g. ``train/n01440764/n01440764_10026``."""
        root = self._root()
        return index_classes(root / ("train" if split == "train" else "val"), class_folders(root / "train"), root)

    def _root(self) -> Path:
        try:
            root = find_root(self.root)
        except UserError as error:
            raise UserError(f"{error}; {INSTRUCTIONS}") from None
        if not (root / "train").is_dir() or not (root / "val").is_dir():
            raise UserError(f"{root}: expected train/ and val/, found {contents(root)}; {INSTRUCTIONS}")
        return root
