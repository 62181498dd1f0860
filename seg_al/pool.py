"""Which samples of the pool are labeled, and how the first of them are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_al.config import Component, UserError, nearest
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

    def choose(self, ids: Sequence[str], seed: int) -> list[int]:
        """Return indices into `ids`, distinct.

        Raises:
            UserError: the pool cannot give what is asked for.
        """
        raise NotImplementedError


class RandomInitial(InitialPool):
    """Samples drawn uniformly without replacement; what ``initial=<number>`` stands for."""

    size: int
    """Number of samples."""

    def choose(self, ids: Sequence[str], seed: int) -> list[int]:
        """Return `size` indices drawn from the stream (seed, "initial pool"), the same for every strategy."""
        if self.size < 1:
            raise UserError(f"initial is {self.size}: a first model needs at least 1 labeled image")
        if self.size > len(ids):
            raise UserError(f"initial is {self.size}, but the pool holds {len(ids)} images; lower initial")
        return [int(i) for i in generator(seed, "initial pool").permutation(len(ids))[: self.size]]


class FileInitial(InitialPool):
    """Samples listed in a file, one id a line, e.g. ``rounds/00/labeled.txt`` of another run."""

    path: str | Path
    """The text file of ids."""

    def choose(self, ids: Sequence[str], seed: int) -> list[int]:
        """Return the indices of the listed ids, in the order of the file."""
        try:
            lines = Path(self.path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"initial pool {self.path}: cannot be read as a text file ({error})") from None
        wanted = [line.strip() for line in lines if line.strip()]
        if not wanted:
            raise UserError(f"initial pool {self.path}: lists no id; write one id a line")
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
