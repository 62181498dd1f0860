"""Which samples of the pool are labeled, and how the first of them are chosen."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from seg_al.config import Component, UserError, nearest
from seg_al.data.base import Dataset, Samples
from seg_al.data.files import some
from seg_al.oracle import for_each
from seg_al.reporting.indices import COLUMNS, read_indices
from seg_al.streams import generator


@dataclass(frozen=True)
class Pool:
    """The training split, parted into labeled and unlabeled samples.

    Positions count in the split's own order; `labeled` is in the order of labeling, `unlabeled` in the
    split's order.
    """

    ids: Sequence[str]
    labeled: tuple[int, ...] = ()

    @property
    def unlabeled(self) -> np.ndarray:
        """Indices of the unlabeled samples, ascending, (N,) int64."""
        free = np.ones(len(self.ids), dtype=bool)
        free[list(self.labeled)] = False
        return np.flatnonzero(free)

    @property
    def fraction(self) -> float:
        """Share of the pool that is labeled, in [0, 1]."""
        return len(self.labeled) / len(self.ids)

    def label(self, indices: Sequence[int] | np.ndarray) -> Pool:
        """Return the pool with these samples labeled too.

        Raises:
            ValueError: a sample twice, one labeled before, or one that is not in the pool.
        """
        labeled = (*self.labeled, *(int(i) for i in indices))
        if len(set(labeled)) < len(labeled) or not all(0 <= i < len(self.ids) for i in labeled):
            raise ValueError("samples to label must be distinct, unlabeled and in the pool")
        return Pool(self.ids, labeled)


class InitialPool(Component):
    """How the samples of the first round are chosen."""

    def choose(self, dataset: Dataset, samples: Samples, seed: int) -> list[int]:
        """Return indices into `samples`, the training split of `dataset`; distinct.

        Raises:
            UserError: the pool cannot give what is asked for.
        """
        raise NotImplementedError


class RandomInitial(InitialPool):
    """Samples drawn uniformly without replacement; what ``initial=<number>`` stands for."""

    size: int
    """Number of samples."""

    def choose(self, dataset: Dataset, samples: Samples, seed: int) -> list[int]:
        """Return `size` indices drawn from the stream (seed, "initial pool"), the same for every strategy."""
        check_size(self.size, len(samples))
        return shuffled(len(samples), seed)[: self.size].tolist()


class FileInitial(InitialPool):
    """Samples listed in a file: ``rounds/00/labeled.txt`` of another run, or one of ``indices/`` of a study."""

    path: str | Path
    """The text file, one id a line; or CSV with the columns round, rank, id and score, of which round 0 counts."""

    def choose(self, dataset: Dataset, samples: Samples, seed: int) -> list[int]:
        """Return the indices of the listed ids, in the order of the file."""
        try:
            lines = Path(self.path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"initial pool {self.path}: cannot be read as a text file ({error})") from None
        if lines and lines[0] == ",".join(COLUMNS):
            wanted = [name for number, name, _ in read_indices(self.path) if number == 0]
        else:
            wanted = [line.strip() for line in lines if line.strip()]
        if not wanted:
            raise UserError(f"initial pool {self.path}: lists no id; write one id a line")
        ids = samples.ids
        where = {name: index for index, name in enumerate(ids)}
        unknown = [name for name in wanted if name not in where]
        if unknown:
            hint = nearest(unknown[0], list(ids)) if len(ids) < 20_000 else ""
            hint = hint if "did you mean" in hint else f"; ids look like {ids[0]!r}"
            raise UserError(f"initial pool {self.path}: {len(unknown)} ids not in the pool, first {unknown[0]!r}{hint}")
        if len(set(wanted)) < len(wanted):
            twice = next(name for name in wanted if wanted.count(name) > 1)
            raise UserError(f"initial pool {self.path}: lists {twice!r} more than once; remove the duplicates")
        return [where[name] for name in wanted]


class Stratified(InitialPool):
    """Samples drawn uniformly from each stratum of the pool, in proportion to its size.

    A stratum's share is rounded down or up, by largest remainders. Strata are the classes of whole images, or
    sequences (cities, folders), of which masks have use too. Cost, by class: every label of the pool is read.
    """

    size: int
    """Number of samples."""

    by: Literal["class", "sequence"] = "class"
    """What the strata are: classes of images, or sequences of ids."""

    sequence: str = "[^_]*"
    """Regular expression; what it matches at the start of an id names the sequence. The default, all up to the
    first underscore, gives CamVid's videos, Cityscapes' cities and Streets' runs; ".*/" gives folders."""

    def __post_init__(self) -> None:
        check_pattern(self.sequence, "Stratified.sequence")

    def choose(self, dataset: Dataset, samples: Samples, seed: int) -> list[int]:
        """Return `size` indices, in the order of the random start of this seed.

        Raises:
            UserError: the pool is too small; by "class", a label is missing or a mask.
        """
        check_size(self.size, len(samples))
        first = samples.target(0) if self.by == "class" else None
        if first is not None and first.ndim:
            raise UserError("Stratified: a mask is not of one class; set by='sequence'")
        if self.by == "sequence":
            strata = np.unique(sequences(samples.ids, self.sequence), return_inverse=True)[1]
        else:
            strata = classes_shown(dataset, samples).argmax(1)
        quota, remainder = np.divmod(np.bincount(strata) * self.size, len(samples))
        order = generator(seed, "strata").permutation(len(quota))  # equal remainders fall by chance
        largest = order[np.argsort(-remainder[order], kind="stable")]
        quota[largest[: self.size - quota.sum()]] += 1
        chosen = []
        for index in shuffled(len(samples), seed).tolist():
            if quota[strata[index]]:
                quota[strata[index]] -= 1
                chosen.append(index)
        return chosen


class MissingClasses(InitialPool):
    """A biased start, as VAAL's (Sinha et al., ICCV 2019): no sample of some classes, otherwise uniform.

    Left out is every image of these classes; with masks, every image that shows one of them, if in one pixel.
    Cost: every label of the pool is read (3 s for CamVid's 367 masks).
    """

    size: int
    """Number of samples."""

    classes: int | tuple[str, ...]
    """The classes: names, or a number m of them, chosen at random by the seed among the rare ones (see `rare`);
    10 and 20 in the paper, on CIFAR100."""

    rare: float = 0.5
    """Of m classes: a class can be chosen if at most this share of the pool's images show it, 0 to 1. Without
    the images that show roads, no street scene would be left."""

    def __post_init__(self) -> None:
        if not 0 < self.rare <= 1:
            raise UserError(f"MissingClasses.rare is a share of the pool, above 0 and at most 1, not {self.rare}")
        if self.classes in (0, ()) or (isinstance(self.classes, int) and self.classes < 0):
            raise UserError(f"MissingClasses.classes is {self.classes}; leave out at least 1, or take initial=<number>")

    def choose(self, dataset: Dataset, samples: Samples, seed: int) -> list[int]:
        """Return `size` indices: the random start of this seed, less what is left out.

        Raises:
            UserError: an unknown class, fewer rare classes than asked for, or too few samples left.
        """
        names, classes = dataset.class_names, self.classes
        for name in () if isinstance(classes, int) else classes:
            if name not in names:
                owner = type(dataset).__name__
                raise UserError(f"MissingClasses.classes: {owner} has no class {name!r}{nearest(name, names)}")
        shown = classes_shown(dataset, samples)
        if isinstance(classes, int):
            share = shown.mean(0)
            rare = np.flatnonzero((share > 0) & (share <= self.rare))
            if len(rare) < classes:
                raise UserError(
                    f"MissingClasses.classes is {classes}, but only {len(rare)} of {len(names)} classes are shown by "
                    f"at most {self.rare:.0%} of the pool's images; lower it, raise rare, or name the classes"
                )
            missing = generator(seed, "missing classes").permutation(rare)[:classes].tolist()
        else:
            missing = [names.index(name) for name in classes]
        return drawn_without(np.any(shown[:, missing], axis=1), [names[k] for k in missing], self.size, seed)


class LeaveOut(InitialPool):
    """A biased start: no sample from some sequences, cities or folders, otherwise uniform."""

    size: int
    """Number of samples."""

    groups: int | tuple[str, ...]
    """What is left out: beginnings of ids, up to a character that is neither letter nor digit ("aachen",
    "Seq05VD", "day/rain"), or a number m of sequences, chosen at random by the seed."""

    sequence: str = "[^_]*"
    """Of m sequences: regular expression; what it matches at the start of an id names the sequence. The default,
    all up to the first underscore, gives CamVid's videos, Cityscapes' cities and Streets' runs; ".*/" gives
    folders."""

    def __post_init__(self) -> None:
        check_pattern(self.sequence, "LeaveOut.sequence")
        if self.groups in (0, ()) or (isinstance(self.groups, int) and self.groups < 0):
            raise UserError(f"LeaveOut.groups is {self.groups}; leave out at least 1, or take initial=<number>")

    def choose(self, dataset: Dataset, samples: Samples, seed: int) -> list[int]:
        """Return `size` indices: the random start of this seed, less what is left out.

        Raises:
            UserError: an unknown group, fewer sequences than asked for, or too few samples left.
        """
        found = np.array(sequences(samples.ids, self.sequence))
        names = np.unique(found).tolist()
        out = np.zeros(len(samples), dtype=bool)
        if isinstance(self.groups, int):
            if self.groups >= len(names):
                raise UserError(
                    f"LeaveOut.groups is {self.groups}, but the pool has {len(names)} sequences, such as {names[0]!r}; "
                    "lower it, or set sequence to a pattern that parts ids otherwise"
                )
            left = generator(seed, "left out").permutation(names)[: self.groups].tolist()
            out = np.isin(found, left)
        else:
            left = list(self.groups)
            for name in left:
                begins = re.compile(re.escape(name) + (r"(?![^\W_])" if name[-1:].isalnum() else ""))
                inside = [begins.match(sample) is not None for sample in samples.ids]
                if not any(inside):
                    known = nearest(name, names) if len(names) < 100 else f"; ids look like {samples.ids[0]!r}"
                    raise UserError(f"LeaveOut.groups: no id of the pool begins with {name!r}{known}")
                out |= inside
        return drawn_without(out, left, self.size, seed)


def check_size(size: int, count: int) -> None:
    """Check that `size` samples can be drawn from `count`.

    Raises:
        UserError: they cannot.
    """
    if size < 1:
        raise UserError(f"initial is {size}: a first model needs at least 1 labeled image")
    if size > count:
        raise UserError(f"initial is {size}, but the pool holds {count} images; lower initial")


def check_pattern(pattern: str, setting: str) -> None:
    """Check that a setting is a regular expression.

    Raises:
        UserError: it is not.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"{setting} {pattern!r} is no regular expression: {error}") from None


def shuffled(count: int, seed: int) -> np.ndarray:
    """Return the order in which all initial pools of a seed draw: biased ones are the random one less some."""
    return generator(seed, "initial pool").permutation(count)


def drawn_without(out: np.ndarray, names: Sequence[str], size: int, seed: int) -> list[int]:
    """Return the first `size` indices of a seed's order that are not left out, and say what is.

    Args:
        out: which samples are left out, (N,) bool, because of
        names: classes or sequences.

    Raises:
        UserError: too few are left.
    """
    check_size(size, len(out))
    left = len(out) - int(out.sum())
    if size > left:
        raise UserError(
            f"initial is {size}, but only {left} of {len(out)} images are left without {some(names)}; "
            "lower size, or leave out less"
        )
    print(f"note: the initial pool comes from {left} of {len(out)} images, without {some(names, 20)}", file=sys.stderr)
    order = shuffled(len(out), seed)
    return order[~out[order]][:size].tolist()


def sequences(ids: Sequence[str], pattern: str) -> list[str]:
    """Return what names the sequence of each sample: the match of `pattern` at the start of its id, or the id."""
    matches = (re.match(pattern, name) for name in ids)
    return [name if match is None else match[0] for match, name in zip(matches, ids, strict=True)]


def classes_shown(dataset: Dataset, samples: Samples) -> np.ndarray:
    """Return which classes each sample shows, in any of its pixels or as a whole: (N, C) bool.

    Raises:
        UserError: a sample has no label.
    """
    shown = np.zeros((len(samples), len(dataset.class_names)), dtype=bool)

    def read(index: int) -> None:
        target = samples.target(index)
        if target is None:
            name = samples.ids[index]
            raise UserError(f"{name}: has no label; an initial pool that goes by classes needs those of all images")
        present = np.unique(target)
        shown[index, present[present < shown.shape[1]]] = True  # the others are void

    for_each(read, range(len(samples)), "labels of the pool")
    return shown
