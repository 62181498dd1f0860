"""Power acquisition: a batch drawn at random in proportion to a power of the scores, in place of the top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seg_al.config import UserError
from seg_al.strategies.base import ScoreStrategy, Selection, highest
from seg_al.strategies.mc_dropout import BALD
from seg_al.strategies.uncertainty import Entropy

if TYPE_CHECKING:
    from seg_al.round import Round


class PowerAcquisition(ScoreStrategy):
    """Mixin that makes a top-b strategy of scores s ≥ 0 stochastic (Kirsch et al., TMLR 2023, §3).

    The highest scores of single images make a poor batch: the labels of some change the scores of others. So
    ``log s + Gumbel(0, 1/β)`` ranks the images, which is sampling without replacement in proportion to s^β
    (the Gumbel-top-k trick; Kool et al. 2019). An image of score 0 comes only after all others.

    The scores of a query are the perturbed ones, which rank it; -inf where s = 0.
    """

    beta: float = 1.0
    """β, above 0: near 0 the choice is uniform, at float("inf") the plain top b."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise UserError(f"{type(self).__name__}.beta must be above 0, not {self.beta}")

    def select(self, round: Round, budget: int) -> Selection:
        """Return the `budget` images of the highest perturbed scores."""
        scores = self.score(round).double().cpu().numpy()
        with round.timed("select"):
            return highest(perturbed(scores, self.beta, round.rng), budget, round.rng)


class PowerBALD(PowerAcquisition, BALD):
    """PowerBALD: images drawn in proportion to their BALD score to the power β (Kirsch et al. 2023).

    Cost: one pass of the task model over the unlabeled pool, and T of its head.
    """

    def __post_init__(self) -> None:
        PowerAcquisition.__post_init__(self)
        BALD.__post_init__(self)


class PowerEntropy(PowerAcquisition, Entropy):
    """Power entropy: images drawn in proportion to their entropy to the power β (Kirsch et al. 2023).

    Cost: one pass of the task model over the unlabeled pool.
    """


def perturbed(scores: np.ndarray, beta: float, rng: np.random.Generator) -> np.ndarray:
    """Return `log s + Gumbel(0, 1/β)` of (N,) scores s ≥ 0; -inf for 0."""
    with np.errstate(divide="ignore"):
        return np.log(scores) + rng.gumbel(size=len(scores)) / beta
