"""Looking at a whole data set before spending a day on it: every problem at once, and what is in it."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seg_al.config import UserError
from seg_al.data.base import IGNORE, Dataset, ImageDataset, Samples, Split
from seg_al.data.files import ImageFiles, some
from seg_al.data.masks import UnknownLabels

SPLITS: tuple[Split, ...] = ("train", "val", "test")
CHUNK = 32
"""Samples a thread takes at once: a million tasks would fill a gigabyte."""

Bar = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Passes items on and shows how far it is, e.g. `seg_al.reporting.progress.progress`: items, description, total."""


def _no_bar(items: Iterable[Any], description: str, total: int) -> Iterable[Any]:
    return items


@dataclass
class SplitReport:
    """What one split holds."""

    images: int = 0

    labeled: int = 0
    """Images with a label, usable or not."""

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Pixels of each class in masks, (C,) int64."""

    images_with: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Images that show each class, or are of it, (C,) int64."""

    ignored: int = 0
    """Pixels of value 255."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Number of images of each (height, width)."""

    @property
    def ignored_share(self) -> float:
        """Ignored pixels as a share of all labeled images' pixels, in [0, 1]."""
        return self.ignored / max(1, self.ignored + int(self.pixels.sum()))


@dataclass
class Report:
    """What a data set holds and what is wrong with it."""

    class_names: tuple[str, ...] = ()
    splits: dict[str, SplitReport] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What must be mended before training, one line a kind, with examples."""

    warnings: list[str] = field(default_factory=list)
    """What may be meant, and may spoil results where it is not."""

    def table(self) -> str:
        """Return splits, then classes, as text columns."""
        masks = any(split.ignored + split.pixels.sum() for split in self.splits.values())
        rows = [["split", "images", "labeled", *(["ignored"] * masks), "sizes (width x height)"]]
        for name, split in self.splits.items():
            sizes = [f"{w}x{h}" + f" ({n})" * (len(split.sizes) > 1) for (h, w), n in split.sizes.most_common()]
            ignored = [f"{100 * split.ignored_share:.2f} %"] * masks
            rows.append([name, str(split.images), str(split.labeled), *ignored, some(sizes, 3)])
        counted = ("pixels", "images") if masks else ("images",)
        classes = [["class", *(f"{name} {what}" for name in self.splits for what in counted)]]
        for i, name in enumerate(self.class_names):
            cells = [f"{i:>3} {name}"]
            for split in self.splits.values():
                cells += [f"{100 * split.pixels[i] / max(1, split.pixels.sum()):.2f} %"] * masks
                cells.append(str(split.images_with[i]))
            classes.append(cells)
        return _columns(rows) + "\n\n" + _columns(classes)

    def raise_problems(self) -> None:
        """Raise all problems as one UserError of one line, if there are any."""
        if self.problems:
            raise UserError("the data set has problems: " + "; ".join(self.problems))


def check(
    dataset: Dataset, splits: Sequence[Split] = SPLITS, *, decode_images: bool = True, progress: Bar = _no_bar
) -> Report:
    """Read every image and label of some splits; collects problems, never stops at the first.

    Args:
        decode_images: read images in full and compare their content across splits; without it image
            files get a cheap look (size, end of file), and masks are read in full all the same.
        progress: shows how far it is, split by split.
    """
    report = Report()
    try:
        report.class_names = dataset.class_names
    except UserError as error:
        report.problems.append(str(error))
        return report
    listed: dict[Split, Samples] = {}
    for split in splits:
        try:
            listed[split] = dataset.samples(split)
        except UserError as error:
            if str(error) not in report.problems:  # a missing root is one problem, not one a split
                report.problems.append(str(error))
    report.problems += _shared_files(listed)
    digests: dict[str, list[str]] = {}
    kinds: dict[tuple[str, str], list[str]] = {}
    unknown: dict[str, _Unknown] = {}
    # The decoders let go of Python's lock, so threads use all cores and share what was listed.
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        for split, samples in listed.items():
            none = np.zeros(len(report.class_names), np.int64)
            found = report.splits[split] = SplitReport(pixels=none, images_with=none.copy())
            inspect = functools.partial(_inspect_some, samples, len(report.class_names), decode_images)
            chunks = [range(len(samples))[start : start + CHUNK] for start in range(0, len(samples), CHUNK)]
            inspected = itertools.chain.from_iterable(threads.map(inspect, chunks))
            for index, sample in enumerate(progress(inspected, f"checking {split}", len(samples))):
                _count(found, sample)
                for wrong in sample.errors:
                    if isinstance(wrong, UnknownLabels):
                        for label, pixels in wrong.counts.items():
                            unknown.setdefault(label, _Unknown()).add(str(wrong), pixels)
                    else:
                        message, _, advice = str(wrong).partition("; ")
                        kinds.setdefault((sample.kind(wrong), advice), []).append(message)
                if sample.digest:
                    digests.setdefault(sample.digest, []).append(f"{split}/{samples.ids[index]}")
    report.problems += [f"{len(told)} {kind}: {some(told)} ({advice})" for (kind, advice), told in kinds.items()]
    if unknown:
        report.problems.append(_tell_unknown(unknown))
    report.warnings = _warnings(dataset, report, digests)
    return report


def preflight(dataset: Dataset, splits: Sequence[Split] = SPLITS, *, progress: Bar = _no_bar) -> Report:
    """Check a data set before training: every mask is read in full, image files get a cheap look.

    The look finds missing, empty and truncated files and sizes that differ from the mask's; damage in the
    middle of an image file needs `check`. Time per sample: see ``tools/check_data.py --quick``.

    Raises:
        UserError: all problems of all splits, in one line.
    """
    report = check(dataset, splits, decode_images=False, progress=progress)
    report.raise_problems()
    return report


@dataclass
class _Sample:
    """What was found in one sample."""

    size: tuple[int, int] | None = None
    digest: str = ""
    counts: np.ndarray | None = None
    """Pixels of each value of a mask, (256,) int64."""

    class_index: int | None = None
    """Class of the image as a whole."""

    image_error: UserError | None = None
    label_error: UserError | None = None

    @property
    def errors(self) -> list[UserError]:
        return [error for error in (self.image_error, self.label_error) if error is not None]

    def kind(self, error: UserError) -> str:
        return "images cannot be used" if error is self.image_error else "labels cannot be used"


@dataclass
class _Unknown:
    """Where one unknown label was met."""

    masks: int = 0
    pixels: int = 0
    first: str = ""
    advice: str = ""

    def add(self, message: str, pixels: int) -> None:
        self.first = self.first or f"{message.partition(': ')[0]} with {pixels}"
        self.masks += 1
        self.pixels += pixels
        self.advice = message.rpartition("; ")[2]


def _inspect_some(samples: Samples, classes: int, decode_images: bool, indices: range) -> list[_Sample]:
    return [_inspect(samples, classes, decode_images, index) for index in indices]


def _inspect(samples: Samples, classes: int, decode_images: bool, index: int) -> _Sample:
    sample = _Sample()
    try:
        if decode_images:
            image = samples.image(index)
            sample.size = (image.shape[0], image.shape[1])
            sample.digest = hashlib.blake2b(f"{image.shape}".encode() + image.tobytes(), digest_size=16).hexdigest()
        elif isinstance(samples, ImageFiles):  # others draw or hold their images: no file can be broken
            sample.size = samples.probe(index)
    except UserError as error:
        sample.image_error = error
    try:
        target = samples.target(index)
        if target is not None and np.ndim(target) == 0:
            sample.class_index = int(target)
            if not 0 <= sample.class_index < classes:
                raise UserError(f"{samples.ids[index]}: is of class {target}; classes are 0 to {classes - 1}")
        elif target is not None:
            sample.counts = np.bincount(np.ravel(target), minlength=256)
            beyond = [value for value in np.flatnonzero(sample.counts).tolist() if value >= classes and value != IGNORE]
            if beyond:
                raise UserError(
                    f"{samples.ids[index]}: its mask holds {some(list(map(str, beyond)))}; classes are 0 to "
                    f"{classes - 1}, and {IGNORE} is left out"
                )
    except UserError as error:
        if str(error) != str(sample.image_error):  # comparing sizes met the same broken image
            sample.label_error = error
    return sample


def _count(found: SplitReport, sample: _Sample) -> None:
    found.images += 1
    if sample.size is not None:
        found.sizes[sample.size] += 1
    labels = (sample.counts, sample.class_index, sample.label_error)
    found.labeled += any(label is not None for label in labels)
    if sample.class_index is not None and sample.label_error is None:
        found.images_with[sample.class_index] += 1
    if sample.counts is not None:
        pixels = sample.counts[: len(found.pixels)]
        found.pixels += pixels
        found.images_with += pixels > 0
        found.ignored += int(sample.counts[IGNORE])


def _shared_files(listed: dict[Split, Samples]) -> list[str]:
    where: dict[str, list[str]] = {}
    for split, samples in listed.items():
        for path in samples.images if isinstance(samples, ImageFiles) else ():
            where.setdefault(str(path), []).append(split)
    shared = [f"{path} ({', '.join(splits)})" for path, splits in where.items() if len(splits) > 1]
    return [f"{len(shared)} images are in more than one split: {some(shared)} (keep each in one)"] if shared else []


def _tell_unknown(unknown: dict[str, _Unknown]) -> str:
    most = sorted(unknown.items(), key=lambda item: -item[1].masks)
    told = [f"{label} in {at.masks} masks, {at.pixels} pixels, first {at.first}" for label, at in most]
    return f"{len(told)} unknown labels: {', '.join(told[:20])} ({most[0][1].advice})"


def _warnings(dataset: Dataset, report: Report, digests: dict[str, list[str]]) -> list[str]:
    told = [f"{name} holds no images" for name, split in report.splits.items() if split.images == 0]
    across = [" = ".join(same) for same in digests.values() if len({name.partition("/")[0] for name in same}) > 1]
    within = [" = ".join(same) for same in digests.values() if len(same) > 1 and " = ".join(same) not in across]
    if across:
        told.append(
            f"{len(across)} images are the same in more than one split (results will look too good): {some(across)}"
        )
    if within:
        told.append(f"{len(within)} images occur more than once within a split: {some(within)}")
    train = report.splits.get("train")
    if train is None or train.ignored + train.images_with.sum() == 0:
        return told
    absent = [name for name, images in zip(report.class_names, train.images_with, strict=True) if images == 0]
    if absent:
        told.append(f"no {'pixel' if train.pixels.any() else 'image'} in train of: {some(absent, 20)}")
    if train.ignored_share > 0.5 or (absent and train.ignored_share > 0.1):
        told.append(
            f"{100 * train.ignored_share:.0f} % of train's pixels are ignored; if the masks are 0 and 255 and 255 "
            "is a class, say label_ids=((0, 0), (255, 1)) and void=None"
        )
    if isinstance(dataset, ImageDataset) and dataset.size is None and len(train.sizes) > 1:
        told.append(f"train has images of {len(train.sizes)} sizes and no common one; set size=(height, width)")
    return told


def _columns(rows: list[list[str]]) -> str:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
