"""Samples that lie in image and mask files: where to look, which belong together, reading them."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from typing_extensions import Self

from seg_al.config import UserError
from seg_al.data.base import Split
from seg_al.data.images import IMAGE_SUFFIXES, LOSSLESS, MASK_SUFFIXES, image_size, probe_image, read_image
from seg_al.data.masks import MaskReader

DATA_VARIABLE = "SEG_AL_DATA"
"""Environment variable that names the folder where relative roots are looked up too."""


@dataclass(eq=False)
class ImageFiles:
    """Image files of one split and their ids."""

    ids: Sequence[str]
    images: Sequence[str | Path]

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> np.ndarray:
        """Return the image, (H, W, 3) uint8 RGB, upright (see `read_image`)."""
        return read_image(self.images[index])

    def probe(self, index: int) -> tuple[int, int]:
        """Return height and width of an image after a cheap look at its file (see `probe_image`)."""
        return probe_image(self.images[index])


@dataclass(eq=False)
class FileSamples(ImageFiles):
    """Samples of one split as image and mask files (see `seg_al.data.base.Samples`)."""

    masks: Sequence[Path | None]
    """The mask of each image; None where it is unlabeled."""

    read_mask: MaskReader

    def target(self, index: int) -> np.ndarray | None:
        """Return train ids (H, W) uint8 with 255 = ignore; None where the image has no mask."""
        mask = self.masks[index]
        if mask is None:
            return None
        target = self.read_mask(mask)
        height, width = image_size(self.images[index])
        if target.shape != (height, width):
            rows, columns = target.shape
            turned = " (its EXIF orientation is applied)" if (columns, rows) == (height, width) else ""
            raise UserError(
                f"{mask}: is {columns}x{rows} pixels, but its image {self.images[index]} is {width}x{height}{turned}; "
                "masks need the size of their image"
            )
        return target

    def subset(self, indices: Iterable[int]) -> FileSamples:
        """Return the samples at these positions, in that order."""
        chosen = list(indices)
        return FileSamples(
            ids=tuple(self.ids[i] for i in chosen),
            images=tuple(self.images[i] for i in chosen),
            masks=tuple(self.masks[i] for i in chosen),
            read_mask=self.read_mask,
        )


class Problems:
    """Problems met on the way, to be raised together: kind (count): first examples."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, example: str) -> None:
        """Note one more example of a kind of problem; the kind says what to do about it."""
        self._found.setdefault(kind, []).append(example)

    def __bool__(self) -> bool:
        return bool(self._found)

    def lines(self) -> list[str]:
        """Return one line a kind."""
        return [f"{kind} ({len(examples)}): {some(examples)}" for kind, examples in self._found.items()]

    def raise_any(self, where: str) -> None:
        """Raise one UserError that tells all of them, if there are any."""
        if self:
            raise UserError(f"{where}: {'; '.join(self.lines())}")


def some(items: Sequence[str], count: int = 5) -> str:
    """Return the first few items, and how many more there are."""
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return ", ".join(items[:count]) + more


def find_root(root: str | Path, archive: str = "") -> Path:
    """Return the folder of a data set: `root` as it is, or else below ``$SEG_AL_DATA``.

    Args:
        archive: the ending of a file that will do in the folder's place, under its name or as `root` itself.

    Raises:
        UserError: neither exists (names both places), or it is a file of another kind.
    """
    given = Path(root).expanduser()
    base = os.environ.get(DATA_VARIABLE)
    places = [given.absolute()] if base is None or given.is_absolute() else [given.absolute(), Path(base) / given]
    for place in places:
        if place.is_dir():
            return place
        packed = place if archive and place.name.endswith(archive) else Path(f"{place}{archive}")
        if archive and packed.is_file():
            return packed
        if place.exists():
            unpack = "unpack it and " if place.suffix in (".zip", ".tar", ".gz", ".tgz") else ""
            raise UserError(f"{place}: is a file, not the folder of a data set; {unpack}set root to a folder")
    unset = f" ({DATA_VARIABLE} is not set)" if base is None and not given.is_absolute() else ""
    looked = " nor ".join(map(str, places)) + unset
    raise UserError(
        f"data set root {str(root)!r}: no such folder, {'neither ' * (len(places) > 1)}{looked}; "
        f"set root, or {DATA_VARIABLE} to the folder that holds it"
    )


def contents(folder: Path) -> str:
    """Return the first entries of a folder, for messages."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return some(names, 8) if names else "nothing"


def scan_images(folder: Path, problems: Problems, ending: str = "") -> dict[str, Path]:
    """Find the image files below a folder whose names end in `ending` and a suffix, sorted by id.

    An id is the path relative to `folder`, with slashes and without ending and suffix. Hidden files and
    files of other kinds are passed over. Several files of one id are noted in `problems`.

    Raises:
        UserError: the folder does not exist, cannot be listed, or holds no image.
    """
    images = walk_images(folder, problems, ending)
    if not images and not problems:
        wanted = f"*{ending}{{{','.join(IMAGE_SUFFIXES)}}}"
        raise UserError(f"{folder}: holds no image {wanted} but {contents(folder)}; check root and the layout")
    return images


def scan_masks(folder: Path, problems: Problems, ending: str = "", unlabeled_ok: bool = False) -> dict[str, Path]:
    """Find mask files as `scan_images` does; JPEG and WebP among them are noted in `problems`.

    Raises:
        UserError: the folder does not exist or holds no mask (unless `unlabeled_ok`), or cannot be listed.
    """
    if unlabeled_ok and not folder.exists():
        return {}
    masks = walk_images(folder, problems, ending)
    if not masks and not problems and not unlabeled_ok:
        wanted = f"*{ending}{{{','.join(MASK_SUFFIXES)}}}"
        raise UserError(f"{folder}: holds no masks {wanted} but {contents(folder)}; every image needs one")
    for path in masks.values():
        if path.suffix.lower() not in MASK_SUFFIXES:
            problems.add(f"masks in a format that alters label ids; {LOSSLESS}", str(path))
    return masks


def require_folder(folder: Path) -> None:
    """Raise a UserError that shows what there is instead, if there is no such folder."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        near = next(p for p in folder.parents if p.is_dir())
        raise UserError(f"{folder}: {what}; {near} holds {contents(near)}: check root and the layout")


def walk_images(folder: Path, problems: Problems, ending: str = "", base: Path | None = None) -> dict[str, Path]:
    """Find image files as `scan_images` does; there may be none.

    Args:
        base: the folder that ids are relative to, where it is not `folder`.
    """
    require_folder(folder)
    found: dict[str, Path] = {}
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_unreadable):
        # A folder called x.png is no file to read, and nobody looks for files in it.
        for name in [name for name in folders if name.lower().endswith(IMAGE_SUFFIXES)]:
            folders.remove(name)
            problems.add("folders named like an image; rename or remove them", str(Path(place, name)))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if name.startswith(".") or suffix.lower() not in IMAGE_SUFFIXES or not stem.endswith(ending):
                continue
            path = Path(place, name)
            sample = sample_id(path, base or folder, ending)
            if sample in found:
                problems.add("more than one file for an id; keep one", f"{found[sample]} and {name}")
            else:
                found[sample] = path
    return dict(sorted(found.items()))


def sample_id(path: Path, folder: Path, ending: str = "") -> str:
    """Return the id of a file: its path below `folder`, with slashes and without ending and suffix."""
    name = path.relative_to(folder).with_suffix("").as_posix()
    # macOS writes é as two code points, other systems as one: both must pair with their mask.
    return unicodedata.normalize("NFC", name.removesuffix(ending))


def paired(
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    read_mask: MaskReader,
    problems: Problems,
    unlabeled_ok: bool = False,
) -> FileSamples:
    """Bring images and masks of the same id together, in the order of the images.

    Images without a mask (unless `unlabeled_ok`) and masks without an image are noted in `problems`.
    """
    if not unlabeled_ok:
        for name in sorted(images.keys() - masks.keys()):
            problems.add("images without a mask; label or remove them", name)
    for name in sorted(masks.keys() - images.keys()):
        problems.add("masks without an image; restore the image or remove the mask", name)
    return FileSamples(tuple(images), tuple(images.values()), tuple(masks.get(name) for name in images), read_mask)


class Divisible(Protocol):
    """Samples of which some can be taken."""

    ids: Sequence[str]

    def __len__(self) -> int: ...

    def subset(self, indices: Iterable[int]) -> Self:
        """Return the samples at these positions, in that order."""
        ...


T = TypeVar("T", bound=Divisible)


def hold_out(samples: T, count: int, seed: int) -> tuple[T, T]:
    """Part samples into (the rest, `count` held out), both in the order they came in.

    Which are held out is a function of the seed and the ids: neither the order of files on disk nor
    another machine changes it, and further files move few samples across.
    """
    by_rank = sorted(range(len(samples)), key=lambda i: hashlib.sha256(f"{seed}/{samples.ids[i]}".encode()).digest())
    held = set(by_rank[:count])
    return samples.subset(i for i in range(len(samples)) if i not in held), samples.subset(sorted(held))


def check_fractions(fractions: tuple[float, float], setting: str) -> None:
    """Raise a UserError that names the setting, if these are no shares of val and test."""
    if min(fractions) < 0 or sum(fractions) >= 1:
        raise UserError(f"{setting} must be 0 or more and sum to less than 1: {fractions}")


def hold_out_val(samples: T, val_images: int, owner: str) -> dict[Split, T]:
    """Part a data set's official train split into train and val; `owner` is the class whose setting it is.

    Raises:
        UserError: nothing would be left to train on.
    """
    if val_images >= len(samples):
        raise UserError(f"{owner}.val_images is {val_images}, but there are {len(samples)} train images; lower it")
    train, val = hold_out(samples, val_images, seed=0)
    return {"train": train, "val": val}


def _unreadable(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions") from None
