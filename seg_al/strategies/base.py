"""What a strategy is: it looks at a round and says which unlabeled images to ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from seg_al.config import Component, UserError

if TYPE_CHECKING:
    from seg_al.round import Round


@dataclass(frozen=True)
class Selection:
    """What a strategy asks for.

    Attributes:
        positions: (b,) int64 positions in ``round.unlabeled``, distinct, the most wanted first.
        scores: (b,) floats, higher = more wanted; NaN where a strategy has none.
    """

    positions: np.ndarray
    scores: np.ndarray


class Strategy(Component):
    """Chooses a query. It pulls what it needs from the round, which holds no label of the unlabeled pool."""

    def select(self, round: Round, budget: int) -> Selection:
        """Return `budget` positions in ``round.unlabeled``, best first, with scores."""
        raise NotImplementedError

    def check(self, round: Round, wanted: int) -> None:
        """Check what can be known before the first round is trained; here nothing.

        Args:
            round: the first, with a model that is not trained, which is all members of a committee, too;
                ``round.first()`` is one to try things on.
            wanted: images that all queries together will ask for.

        Raises:
            UserError: the strategy cannot choose in such rounds.
        """


class ScoreStrategy(Strategy):
    """A strategy that scores each unlabeled image by itself and asks for the highest."""

    def score(self, round: Round) -> Tensor:
        """Return a score for each unlabeled image, (N,), highest first in line."""
        raise NotImplementedError

    def select(self, round: Round, budget: int) -> Selection:
        """Return the `budget` highest scores; ties are broken by the round's random stream."""
        scores = self.score(round).double().cpu().numpy()
        with round.timed("select"):
            return highest(scores, budget, round.rng)


def highest(scores: np.ndarray, budget: int, rng: np.random.Generator) -> Selection:
    """Return the `budget` highest of (N,) scores, equal ones in random order.

    Raises:
        UserError: a score is NaN.
    """
    if np.isnan(scores).any():
        raise UserError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN; the model has diverged")
    shuffled = rng.permutation(len(scores))  # otherwise ties would fall to the pool's order
    order = shuffled[np.argsort(-scores[shuffled], kind="stable")][:budget]
    return Selection(order.astype(np.int64), scores[order])
