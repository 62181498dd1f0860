"""Finished masks into a data set's mask folder: all of them checked first, then each put in place whole."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
from PIL import Image

from seg_al.annotation.base import UNTOUCHED, Annotated, AnnotationFormat
from seg_al.config import UserError
from seg_al.data.base import IGNORE
from seg_al.data.files import FileSamples, Problems
from seg_al.data.images import image_size
from seg_al.data.masks import LabelColors, LabelIds, MaskReader

STAGING = ".importing"
"""Hidden folder in a mask folder where masks lie until all are checked; a data set looks for none there."""


@dataclass(frozen=True)
class Imported:
    """What an import did, as ids in the order of the finished work."""

    written: tuple[str, ...]
    """New masks, and those that replaced another."""

    unchanged: tuple[str, ...]
    """Masks that the data set already had, pixel for pixel."""

    unfinished: tuple[str, ...]
    """Images without a label yet: the tool says so, or no pixel has one."""

    partial: tuple[str, ...]
    """Those of `written` and `unchanged` where pixels that nobody labeled became void."""


def import_masks(
    format: AnnotationFormat,
    source: Path,
    samples: FileSamples,
    class_names: Sequence[str],
    mask_folder: Path,
    *,
    mask_ending: str = "",
    accept_partial: bool = False,
    replace: bool = False,
) -> Imported:
    """Bring finished masks into a data set, in the data set's own encoding.

    All of the finished work is read and checked before a mask is put in place, and a problem in one image leaves
    every mask as it was. Then the masks, written beside before, are moved to their places one by one. A process that is
    killed there leaves some images with the new mask and the others as they were, none with half a file; the same
    import, run again, finds the former unchanged and moves the rest. One mask is in memory at a time (and, where the
    image has one already, that too); the disk holds the new masks once.

    Args:
        source: what the annotation tool exported.
        samples: the images that may be annotated, with the masks they have so far and how those are read.
        mask_folder: where masks of images without one go, as ``<id><mask_ending>.png``; one that replaces another goes
            to its file.
        accept_partial: take images where some pixels are unlabeled; these become void.
        replace: put a mask in the place of another one.

    Raises:
        UserError: all problems together; nothing was imported then. Or a mask could not be put in place (disk full,
            no permission): says how many were.
    """
    encode = _Encoder(samples.read_mask)
    with _staging(mask_folder) as stage:
        work = _Import(samples, encode, mask_folder, mask_ending, accept_partial, replace, stage)
        try:
            for item in format.read(source, class_names):
                work.check(item)
        except UserError as error:
            if not work.problems:
                raise UserError(f"{error} (nothing was imported)") from None
            found = "; ".join(work.problems.lines())
            raise UserError(f"{source}: nothing was imported: {found}; {error} (the rest was not checked)") from None
        work.problems.raise_any(f"{source}: nothing was imported")
        if not work.seen:
            raise UserError(f"{source}: holds no annotated image; give what the annotation tool exported")
        work.place()
    unfinished = tuple(id for id, digest in work.seen.items() if digest is None)
    return Imported(tuple(work.written), tuple(work.unchanged), unfinished, tuple(work.partial))


class _Import:
    """One import: masks that are ready to be put in place, and problems."""

    def __init__(
        self,
        samples: FileSamples,
        encode: _Encoder,
        mask_folder: Path,
        mask_ending: str,
        accept_partial: bool,
        replace: bool,
        stage: Path,
    ) -> None:
        self.samples, self.encode, self.mask_folder, self.mask_ending = samples, encode, mask_folder, mask_ending
        self.accept_partial, self.replace, self.stage = accept_partial, replace, stage
        self.index = {id: i for i, id in enumerate(samples.ids)}
        self.by_name: dict[str, list[str]] = {}
        self.problems = Problems()
        self.seen: dict[str, bytes | None] = {}
        self.written: dict[str, tuple[Path, Path]] = {}
        self.unchanged: list[str] = []
        self.partial: list[str] = []

    def check(self, item: Annotated) -> None:
        """Check one image, and write its mask beside."""
        index = self.index.get(item.id)
        if index is None:
            self.problems.add("images that the data set does not have; rename or remove them", self._unknown(item))
            return
        mask = item.mask
        if mask is not None and (mask == UNTOUCHED).all():
            mask = None
        if mask is None:
            self.seen.setdefault(item.id, None)
            return
        digest = hashlib.blake2b(mask.tobytes() + repr(mask.shape).encode()).digest()
        if before := self.seen.get(item.id):
            if before != digest:
                self.problems.add("images annotated twice, with different masks; keep one", _at(item))
            return
        self.seen[item.id] = digest
        if self._fits(item, mask, image_size(self.samples.images[index])):
            self._stage(item, self._without_untouched(item, mask), index)

    def place(self) -> None:
        """Move all masks to their places."""
        for done, (staged, target) in enumerate(self.written.values()):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged, target)
            except OSError as error:
                raise UserError(
                    f"{target}: cannot be written ({error.strerror}); {done} of {len(self.written)} masks were put in "
                    "place, each of them whole: see to the cause and import again"
                ) from None

    def _fits(self, item: Annotated, mask: np.ndarray, size: tuple[int, int]) -> bool:
        """Note what is wrong with a mask in itself."""
        if mask.shape != size:
            turned = ", turned" if mask.shape == size[::-1] else ""
            sizes = f"{mask.shape[1]}x{mask.shape[0]}, image {size[1]}x{size[0]}{turned}"
            self.problems.add("masks of another size than their image; make them anew", f"{_at(item)}, {sizes}")
            return False
        share = float((mask == UNTOUCHED).mean())
        if share and not self.accept_partial:
            percent = f"{max(share, 0.0001):.2%}"
            self.problems.add(
                "images with pixels that nobody labeled; label them, or accept partial masks, where they become void",
                f"{_at(item)}, {percent}",
            )
            return False
        missing = self.encode.missing(mask)
        if IGNORE in missing or (share and not self.encode.has_void):
            self.problems.add("masks with void pixels, for which the data set has no value; give it one", _at(item))
        if classes := [str(value) for value in missing if value != IGNORE]:
            self.problems.add(
                "masks with classes for which the data set has no label", f"{_at(item)}, {', '.join(classes)}"
            )
        return not missing

    def _without_untouched(self, item: Annotated, mask: np.ndarray) -> np.ndarray:
        untouched = mask == UNTOUCHED
        if not untouched.any():
            return mask
        self.partial.append(item.id)
        return np.where(untouched, np.uint8(IGNORE), mask)

    def _stage(self, item: Annotated, mask: np.ndarray, index: int) -> None:
        old = self.samples.masks[index]
        target = self.mask_folder / f"{item.id}{self.mask_ending}.png" if old is None else old
        if target.exists():
            if self._same(target, mask):
                self.unchanged.append(item.id)
                return
            if not self.replace:
                self.problems.add(
                    "images that have another mask; remove it, or say that it is to be replaced", _at(item)
                )
                return
        staged = self.stage / f"{len(self.written)}{target.suffix}"
        try:
            Image.fromarray(self.encode(mask)).save(staged)
        except OSError as error:
            raise UserError(f"{staged}: cannot be written ({error}); make room, or check the permissions") from None
        self.written[item.id] = (staged, target)

    def _same(self, path: Path, mask: np.ndarray) -> bool:
        try:
            return np.array_equal(self.samples.read_mask(path), mask)
        except UserError:
            return False

    def _unknown(self, item: Annotated) -> str:
        """Return an image that is not known, and one of its name in another folder, if there is."""
        if not self.by_name:
            for id in self.samples.ids:
                self.by_name.setdefault(id.rsplit("/", 1)[-1], []).append(id)
        near = self.by_name.get(item.id.rsplit("/", 1)[-1])
        return f"{item.id!r} at {item.where}" + (f", perhaps {near[0]!r}" if near else "")


class _Encoder:
    """From train ids to what the masks of a data set hold: label ids or colours. The first of several is taken."""

    def __init__(self, read_mask: MaskReader) -> None:
        if isinstance(read_mask, LabelIds):
            known = read_mask.known
            first = {train_id: label for label, train_id in reversed(known.items())}
            values = np.zeros(256, np.uint8 if max(first.values()) < 256 else np.uint16)
            values[list(first)] = list(first.values())
        elif isinstance(read_mask, LabelColors):
            first = {
                int(id): int(code) for id, code in zip(read_mask.train_ids[::-1], read_mask.codes[::-1], strict=True)
            }
            values = np.zeros((256, 3), np.uint8)
            for train_id, code in first.items():
                values[train_id] = code >> 16, code >> 8 & 255, code & 255
        else:
            raise UserError("masks of this data set are neither label ids nor colours, so none can be written")
        self.values = values
        self.known = np.zeros(256, bool)
        self.known[list(first)] = True

    @property
    def has_void(self) -> bool:
        """Whether a mask can say that a pixel counts for nothing."""
        return bool(self.known[IGNORE])

    def missing(self, mask: np.ndarray) -> list[int]:
        """Return the values in a mask that cannot be written, `UNTOUCHED` aside."""
        present = np.bincount(mask.ravel(), minlength=256) > 0
        return [int(value) for value in np.flatnonzero(present & ~self.known) if value != UNTOUCHED]

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        """Return label ids (H, W) uint8 or uint16, or colours (H, W, 3) uint8."""
        return self.values[mask]


@contextmanager
def _staging(mask_folder: Path) -> Iterator[Path]:
    """Yield an empty folder on the disk of the masks, which is gone afterwards; one import at a time has it."""
    stage = mask_folder / STAGING
    lock = filelock.FileLock(f"{stage}.lock", timeout=0)
    made = not mask_folder.exists()
    try:
        mask_folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        shutil.rmtree(stage, ignore_errors=True)  # of an import that was killed
        stage.mkdir()
    except filelock.Timeout:
        raise UserError(f"{mask_folder}: another import is going on; wait for it or stop it") from None
    except OSError as error:
        raise UserError(f"{mask_folder}: cannot be written ({error.strerror}); check its permissions") from None
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        lock.release()
        if made and all(path.name.startswith(STAGING) for path in mask_folder.iterdir()):
            shutil.rmtree(mask_folder)


def _at(item: Annotated) -> str:
    return f"{item.id} ({item.where})"
