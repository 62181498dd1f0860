"""Probability coverage: Yehuda, Dekel, Hacohen, Weinshall, NeurIPS 2022."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_al.config import UserError
from seg_al.strategies.base import Selection
from seg_al.strategies.features import FeatureStrategy, distance_device
from seg_al.strategies.typiclust import cluster
from seg_al.tasks.base import spatial_mean

if TYPE_CHECKING:
    from seg_al.round import Round

BLOCK = 2048
"""Points at a time whose distances to as many others are held."""

JUDGED = 2000
"""Balls whose purity is looked at, to choose δ."""


class ProbCover(FeatureStrategy):
    """Ask for the images whose balls of radius δ hold the most images that no labeled image's ball holds.

    Greedy maximum coverage (Yehuda et al. 2022, Alg. 1): with features of length 1, as in the authors' code, each
    pick is the unlabeled image with the most points of L ∪ U closer than δ that are not yet covered; then its
    ball is covered. Equal ones are drawn at random. Once all is covered, what is left of the budget is drawn at
    random, with a warning: the balls are then too large for that many labels. Like TypiClust it is meant for
    small budgets, with features that know more than the few labels: `FrozenFeatures`.

    The greedy choice is exact. Instead of the graph of the balls, whose edges can be as many as n², only the
    number of uncovered points in each ball is kept; a point that becomes covered is taken off all balls that
    hold it, once. Cost: features of both pools; at most two passes over the n² distances, O(n²·D), in O(n) memory.
    """

    delta: float | None = None
    """Radius δ of the balls, above 0 (no two points are farther apart than 2). None: the paper's rule, in each
    round: the largest δ whose balls are pure, see `purity`."""

    purity: float = 0.95
    """Where `delta` is None: share of the points whose ball is to be pure, all of one k-means cluster."""

    classes: int | None = None
    """Where `delta` is None: clusters of that k-means; None: as many as the task has classes."""

    def __post_init__(self) -> None:
        if self.delta is not None and not self.delta > 0:
            raise UserError(f"ProbCover.delta must be above 0, not {self.delta}")
        if not 0 < self.purity <= 1:
            raise UserError(f"ProbCover.purity must be above 0 and at most 1, not {self.purity}")
        if self.classes is not None and self.classes < 2:
            raise UserError(f"ProbCover.classes must be at least 2, not {self.classes}")

    def select(self, round: Round, budget: int) -> Selection:
        """Return `budget` positions in ``round.unlabeled`` in the order of picking.

        Scores are the number of points, of both pools, that each pick newly covers.
        """
        labeled, unlabeled = self.features.both(round)
        points = F.normalize(torch.cat([labeled, unlabeled]))
        delta = self.radius(round, points) if self.delta is None else self.delta
        with round.timed("select"):
            points = points.to(distance_device(round))
            picks, gains, covered = cover(points, len(labeled), delta, budget, round.rng)
        after = covered + float(gains.sum()) / len(points)
        round.log(probcover={"delta": delta, "covered": covered, "covered_after": after})
        rest = int((gains == 0).sum())
        if rest:
            warnings.warn(
                f"{round.title}: balls of delta {delta:.3g} cover all after {budget - rest} of {budget} picks; "
                "the others are random: set a smaller ProbCover.delta",
                stacklevel=2,
            )
        return Selection(picks, gains)

    def radius(self, round: Round, points: Tensor) -> float:
        """Return the largest δ whose balls are pure, for (n, D) points of length 1."""
        classes = self.classes or _classes(round)
        with round.timed("select"):
            clusters = torch.from_numpy(cluster(points, classes, round.rng))
            device = distance_device(round)
            return pure_radius(points.to(device), clusters.to(device), self.purity, round.rng)


def cover(
    points: Tensor, labeled: int, delta: float, budget: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Pick points greedily so that their balls and the labeled points' cover the most.

    Args:
        points: (n, D), of which the first `labeled` are labeled.

    Returns:
        Positions among the unlabeled points (b,) int64, how many points each newly covers (b,), and the share
        that the labeled ones cover, in [0, 1].
    """
    every = torch.arange(len(points), device=points.device)
    candidates = every[labeled:]
    uncovered = every[within(points, every, every[:labeled], delta) == 0]
    covered = 1 - len(uncovered) / len(points)
    gains = within(points, candidates, uncovered, delta)
    picks: list[int] = []
    scores: list[int] = []
    for _ in range(budget):
        best = gains.max()
        place = int(rng.choice((gains == best).nonzero().flatten().cpu().numpy()))
        own = within(points, uncovered, candidates[place : place + 1], delta) > 0
        gains -= within(points, candidates, uncovered[own], delta)
        uncovered = uncovered[~own]
        gains[place] = -len(points)  # picked: below all others from now on
        picks.append(place)
        scores.append(int(best))
    return np.array(picks, dtype=np.int64), np.array(scores, dtype=float), covered


def within(points: Tensor, rows: Tensor, columns: Tensor, delta: float) -> Tensor:
    """Return how many of the points `columns` are closer than δ to each of the points `rows`, (r,) int64.

    Both are indices into `points` (n, D). Distances are taken in double precision: a pair then is within δ
    whichever block it is met in.
    """
    counts = torch.zeros(len(rows), dtype=torch.int64, device=points.device)
    for place in torch.arange(len(rows), device=points.device).split(BLOCK):
        for block in columns.split(BLOCK):
            near = torch.cdist(points[rows[place]].double(), points[block].double()) < delta
            counts[place] += near.sum(1)
    return counts


def pure_radius(points: Tensor, clusters: Tensor, purity: float, rng: np.random.Generator) -> float:
    """Return the largest δ for which a share `purity` of the balls is pure, judged by pseudo-labels.

    A ball, all that is closer than δ, is pure up to the distance of the nearest point of another cluster. So
    δ is a quantile of that distance, taken over `JUDGED` random points, or all if they are fewer; at most 2.

    Args:
        points: (n, D) of length 1.
        clusters: (n,).
    """
    judged = torch.from_numpy(rng.permutation(len(points))[:JUDGED]).to(points.device)
    nearest = torch.full((len(judged),), 2.0, dtype=torch.float64, device=points.device)
    for place in torch.arange(len(judged), device=points.device).split(BLOCK):
        for block in torch.arange(len(points), device=points.device).split(BLOCK):
            distances = torch.cdist(points[judged[place]].double(), points[block].double())
            distances[clusters[judged[place]][:, None] == clusters[block]] = 2.0
            nearest[place] = torch.minimum(nearest[place], distances.amin(1))
    return float(nearest.sort().values[math.floor((1 - purity) * len(judged))])


def _classes(round: Round) -> int:
    """Return the number of classes the task model tells apart."""
    one = round.unlabeled.subset([0])
    return round.map(lambda images: spatial_mean(round.task.probabilities(round.model, images)), one).shape[1]
