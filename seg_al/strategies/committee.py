"""Committees: where task models trained from different initial weights disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.strategies.base import Selection, highest
from seg_al.strategies.disagreement import entropy, mutual_information, variation_ratio
from seg_al.strategies.labeling_cost import LabelingCost, knapsack
from seg_al.strategies.uncertainty import Predict, Uncertainty

if TYPE_CHECKING:
    from seg_al.round import Round


class CommitteeUncertainty(Uncertainty):
    """Base of the strategies that look at the predictions of N task models.

    Members start from different weights and see all of the labeled pool in different orders (Lakshminarayanan
    et al. 2017). The round's own model is one of them, so N members cost N − 1 trainings a round. All are
    held in the device's memory together.
    """

    members: int = 5
    """N, task models in the committee."""

    def __post_init__(self) -> None:
        if self.members < 2:
            raise UserError(f"{type(self).__name__}.members must be at least 2, not {self.members}")

    def committee(self, round: Round) -> list[nn.Module]:
        """Return the members, in eval mode; those that the round has not yet are trained."""
        return [round.model, *(round.train_member(k) for k in range(1, self.members))]

    def predictor(self, round: Round) -> Predict:
        """Return what predicts a batch N times, once by each member."""
        committee = self.committee(round)

        def predict(images: Tensor) -> Iterator[Tensor]:
            for member in committee:
                yield round.task.probabilities(member, images, self.size(images))

        return predict


class VariationRatio(CommitteeUncertainty):
    """Variation ratio of an ensemble: 1 − f_mode/N, the share of members against the majority (Beluch et al. 2018).

    N members can tell but few values apart where images are classified as a whole, so ties are common: they
    go by H(p̄), the entropy of the mean prediction, pooled over pixels alike, and then by chance. Cost:
    N − 1 trainings of the task model, one pass of each member over the unlabeled pool.
    """

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        """Return 1 − f_mode/N, in [0, 1 − 1/N]."""
        return variation_ratio(predictions)

    def select(self, round: Round, budget: int) -> Selection:
        """Return the `budget` highest variation ratios, those alike by H(p̄); scores are the variation ratios."""
        predict = self.predictor(round)

        def both(images: Tensor) -> Tensor:
            mean = RunningMean()
            ratio = self.uncertainty(mean.watch(predict(images)))
            return torch.stack([self.pixels(ratio), self.pixels(entropy(mean.value))], dim=1)

        rows = round.map(both, round.unlabeled).double().numpy()
        with round.timed("select"):
            # the place of each image in lexicographic order is one number to rank by
            _, places = np.unique(rows, axis=0, return_inverse=True)
            ranks = np.where(np.isnan(rows).any(1), np.nan, places.reshape(-1))
            positions = highest(ranks, budget, round.rng).positions
            return Selection(positions, rows[positions, 0])


class QBC(CommitteeUncertainty):
    """Query by committee: the Jensen-Shannon divergence of the members' predictions (Kuo et al. 2018).

    ``H(p̄) − mean_t H(p_t)`` of each pixel. The paper sums over the most uncertain patches,
    ``pixels=TopPatches(count=K)``; its cost-sensitive selection is `cost_budget`. Cost: N − 1 trainings of
    the task model, one pass of each member over the unlabeled pool.
    """

    cost_budget: float | None = None
    """Labeling cost of a query, as a multiple of what as many images of the pool cost on average: the query of
    the highest total score among those of at most this predicted cost (0-1 knapsack). At least 1, so that
    there always is one: the cheapest images cost no more than the average. None: cost does not matter."""

    cost: LabelingCost = LabelingCost()
    """How the cost of an image is predicted, from the mean prediction of the committee."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cost_budget is not None and not self.cost_budget >= 1:
            raise UserError(f"QBC.cost_budget must be at least 1, the pool's average, or None, not {self.cost_budget}")

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        """Return the Jensen-Shannon divergence in nats, in [0, log N]."""
        return mutual_information(predictions)

    def select(self, round: Round, budget: int) -> Selection:
        """Return the `budget` highest scores; with a `cost_budget`, the best `budget` images within it."""
        if self.cost_budget is None:
            return super().select(round, budget)
        predict = self.predictor(round)

        def both(images: Tensor) -> Tensor:
            mean = RunningMean()
            score = self.pixels(self.uncertainty(mean.watch(predict(images))))
            return torch.stack([score, self.cost(mean.value).to(score)], dim=1)

        scores, costs = round.map(both, round.unlabeled).double().numpy().T
        with round.timed("select"):
            selection = highest(scores, budget, round.rng)
            average = float(costs.mean())
            limit = self.cost_budget * budget * average
            if costs[selection.positions].sum() > limit:
                positions = knapsack(scores, costs, budget, limit, round.rng)
                selection = Selection(positions, scores[positions])
            round.log(labeling_cost={"pool": average, "query": float(costs[selection.positions].mean())})
            return selection


class RunningMean:
    """The mean of predictions that pass by, on their way to another statistic."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._count = 0

    def watch(self, predictions: Iterable[Tensor]) -> Iterator[Tensor]:
        """Hand on predictions one at a time."""
        for prediction in predictions:
            self._total = prediction.clone() if self._total is None else self._total.add_(prediction)
            self._count += 1
            yield prediction

    @property
    def value(self) -> Tensor:
        """Mean of the predictions so far."""
        assert self._total is not None, "no predictions"
        return self._total / self._count
