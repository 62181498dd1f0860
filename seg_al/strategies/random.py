"""Random sampling, the baseline of every comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seg_al.strategies.base import Selection, Strategy

if TYPE_CHECKING:
    from seg_al.round import Round


class Random(Strategy):
    """Uniform sampling without replacement. Cost: none."""

    def select(self, round: Round, budget: int) -> Selection:
        """Return `budget` distinct positions drawn uniformly; scores are NaN."""
        positions = round.rng.permutation(len(round.unlabeled))[:budget]
        return Selection(positions.astype(np.int64), np.full(budget, np.nan))
