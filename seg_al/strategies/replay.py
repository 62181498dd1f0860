"""Replay: the queries of an earlier run, to train and evaluate another model on the same selection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seg_al.config import UserError
from seg_al.reporting.indices import read_indices
from seg_al.strategies.base import Selection, Strategy

if TYPE_CHECKING:
    from seg_al.round import Round


class Replay(Strategy):
    """Asks for what an earlier run labeled, round by round; its initial pool is ``FileInitial(path)``.

    A round's query is what the file lists first and is not labeled yet, whatever the budget: with the budgets of the
    run that wrote it, the same queries; with others, the same order. Cost: none.
    """

    path: str | Path
    """A file of ``indices/`` of a study, as ``indices/vaal_seed0.csv``: CSV with the columns round, rank, id, score."""

    def check_ready(self) -> None:
        """Check that the file can be read."""
        read_indices(self.path)

    def check(self, round: Round, wanted: int) -> None:
        """Check that the file lists `wanted` more ids, all in the pool."""
        self._next(round, wanted)

    def select(self, round: Round, budget: int) -> Selection:
        """Return the next `budget` ids of the file.

        Raises:
            UserError: the file cannot be read, lists too few ids, or one that is not in the pool.
        """
        positions, scores = self._next(round, budget)
        return Selection(np.array(positions, dtype=np.int64), np.array(scores))

    def _next(self, round: Round, wanted: int) -> tuple[list[int], list[float]]:
        """Return where the next ids of the file stand in ``round.unlabeled``, and their scores."""
        known, free = set(round.labeled.ids), {name: position for position, name in enumerate(round.unlabeled.ids)}
        rows = [row for row in read_indices(self.path) if row[1] not in known][:wanted]
        if len(rows) < wanted:
            raise UserError(f"Replay: {self.path} lists {len(rows)} more ids, but {wanted} are wanted; lower rounds")
        if gone := [name for _, name, _ in rows if name not in free]:
            raise UserError(f"Replay: {self.path}: {len(gone)} ids are not in the pool, first {gone[0]!r}")
        return [free[name] for _, name, _ in rows], [score for _, _, score in rows]
