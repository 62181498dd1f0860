"""CIFAR-10 and CIFAR-100: 60,000 images of 32x32 pixels."""

from __future__ import annotations

import functools
import tarfile
import zlib
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from filelock import FileLock
from torchvision import datasets

from seg_al.config import UserError
from seg_al.data.cache import Arrays, pack, remembered, unpack
from seg_al.data.class_files import ArraySamples, ClassSamples, scan_classes
from seg_al.data.classification import ClassificationBenchmark
from seg_al.data.files import Problems, contents, find_root
from seg_al.data.images import IMAGE_SUFFIXES, decode_image

ARCHIVE = ".tar.gz"

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

SUPER_CLASSES = {
    "aquatic mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit and vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household electrical devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large man-made outdoor things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large natural outdoor scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large omnivores and herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium-sized mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles 1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles 2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
"""The 20 super-classes of CIFAR-100, in the order of its coarse labels, and their classes."""

CIFAR100_CLASSES = tuple(sorted(name for names in SUPER_CLASSES.values() for name in names))


class CIFAR10(ClassificationBenchmark):
    """CIFAR-10 (Krizhevsky 2009): 10 classes, 45000 train + 5000 val + 10000 test, as in VAAL's Table 2.

    In one of these forms:

    - ``root/{train,test}/<class>/`` of images;
    - ``root/cifar-10-batches-py``, as torchvision keeps it; its checksums are verified, and its images kept in
      memory (184 MB);
    - a file .tar.gz of ``{train,test}/<class>/`` of images, as `root` or under its name; its images are kept in
      memory and, for the next run, in one file in the cache (see `seg_al.data.cache`).

    Which images are val follows from their ids, which differ between batches and image files.
    """

    root: str | Path = "cifar10"
    """Folder (or .tar.gz) of the data set; a relative one is looked up in $SEG_AL_DATA too."""

    size: tuple[int, int] | None = (32, 32)
    """Height and width of the network's input; None keeps each image's own size."""

    val_images: int = 5000
    """How many official train images are held out for val: always the same ones, whatever their classes."""

    download: bool = False
    """Download the batches into `root` where they are missing or damaged (170 MB, from www.cs.toronto.edu)."""

    _source: ClassVar[Any] = datasets.CIFAR10
    """torchvision's reader of the batches; not a setting."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names, in alphabetical order, which is that of the labels."""
        return CIFAR10_CLASSES

    def official(self, split: Literal["train", "test"]) -> ClassSamples:
        """List an official split; ids are e.g. ``train/00017``, a place in the batches, or ``train/bird/0338``."""
        try:
            place = find_root(self.root, ARCHIVE)
        except UserError as error:
            if not self.download:
                raise UserError(f"{error}; download=True fetches it from the internet") from None
            place = Path(self.root).expanduser()
        if place.is_file():
            found = place.stat()
            return _archived(place, f"{found.st_mtime_ns} {found.st_size}", self.class_names)[split]
        if (place / "train").is_dir():
            problems = Problems()
            samples = scan_classes(place / split, self.class_names, problems, place)
            problems.raise_any(f"{place}, {split}")
            return samples
        if self.download:
            _download(self._source, place)
        elif not (place / self._source.base_folder).is_dir():
            raise UserError(
                f"{place}: expected {self._source.base_folder}/, or train/ and test/ with a folder for each class, "
                f"found {contents(place)}; set root, or download=True"
            )
        return _batches(self._source, place, split)


class CIFAR100(CIFAR10):
    """CIFAR-100 (Krizhevsky 2009): 100 classes in 20 super-classes; splits and forms as for CIFAR10."""

    root: str | Path = "cifar100"
    """Folder (or .tar.gz) of the data set; a relative one is looked up in $SEG_AL_DATA too."""

    _source: ClassVar[Any] = datasets.CIFAR100
    """torchvision's reader of the batches; not a setting."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names, in alphabetical order, which is that of the fine labels."""
        return CIFAR100_CLASSES

    @property
    def super_classes(self) -> tuple[int, ...]:
        """Super-class of each class, 0 to 19, numbered as the coarse labels; their names: `SUPER_CLASSES`."""
        groups = {name: group for group, names in enumerate(SUPER_CLASSES.values()) for name in names}
        return tuple(groups[name] for name in self.class_names)


def _download(source: Any, place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".download.lock"):  # of several processes, the others wait and find it done
            source(str(place), download=True)
    except (OSError, RuntimeError) as error:  # no network, no permission, or another file than expected
        raise UserError(f"{place}: cannot download {source.url} ({error}); fetch and unpack it there") from None


@functools.lru_cache(maxsize=4)
def _batches(source: Any, place: Path, split: str) -> ArraySamples:
    try:
        read = source(str(place), train=split == "train")
    except RuntimeError:
        raise UserError(
            f"{place / source.base_folder}: is incomplete or damaged (checksums differ); download it again, "
            f"by download=True or by unpacking {source.url} there"
        ) from None
    pixels, count = np.ascontiguousarray(read.data), len(read.targets)
    ids = tuple(f"{split}/{index:05d}" for index in range(count))
    return ArraySamples(ids, pixels, np.array(read.targets, dtype=np.int64), np.arange(count))


@functools.lru_cache(maxsize=2)
def _archived(archive: Path, state: str, classes: tuple[str, ...]) -> dict[str, ArraySamples]:
    what = f"reading all images of {archive}"
    found = remembered(archive, f"{state} {classes}", what, lambda: _read_archive(archive, classes))
    return {
        split: ArraySamples(unpack(found[f"{split} ids"]), found[f"{split} pixels"], labels, np.arange(len(labels)))
        for split in ("train", "test")
        for labels in (found[f"{split} classes"],)
    }


def _read_archive(archive: Path, classes: tuple[str, ...]) -> Arrays:
    """Return ids, pixels and classes of both splits, in the order of the ids."""
    problems = Problems()
    found: dict[str, dict[str, tuple[int, np.ndarray]]] = {"train": {}, "test": {}}
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                split, _, rest = member.name.removeprefix("./").partition("/")
                name, _, file = rest.partition("/")
                if split not in found or not member.isfile() or not file.lower().endswith(IMAGE_SUFFIXES):
                    continue
                if name not in classes:
                    problems.add("images of no class; remove them", member.name)
                    continue
                data = members.extractfile(member)
                assert data is not None  # it is a file
                try:
                    pixels = decode_image(data.read(), member.name)
                except UserError as error:
                    problems.add("images that cannot be used; replace or remove them", str(error).partition("; ")[0])
                    continue
                found[split][f"{split}/{rest.rpartition('.')[0]}"] = classes.index(name), pixels
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error}); copy it again") from None
    for split, images in found.items():
        for index in sorted(set(range(len(classes))) - {index for index, _ in images.values()}):
            problems.add("classes without an image; it needs {train,test}/<class>/", f"{split}/{classes[index]}")
        if len({pixels.shape for _, pixels in images.values()}) > 1:
            problems.add("images of several sizes; unpack it, and set root to the folder", split)
    problems.raise_any(str(archive))
    arrays: Arrays = {}
    for split, images in found.items():
        ids = sorted(images)
        arrays[f"{split} ids"] = pack(ids)
        arrays[f"{split} pixels"] = np.stack([images[name][1] for name in ids])
        arrays[f"{split} classes"] = np.array([images[name][0] for name in ids], dtype=np.int64)
    return arrays
