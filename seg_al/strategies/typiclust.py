"""Typical clustering: Hacohen, Dekel, Weinshall, ICML 2022."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

from seg_al.config import UserError
from seg_al.strategies.base import Selection
from seg_al.strategies.features import FeatureStrategy, distance_device

if TYPE_CHECKING:
    from seg_al.round import Round

EXACT = 10_000
"""Points up to which k-means looks at all of them in each step."""

BLOCK = 2048
"""Points at a time whose distances to as many others are held."""


class TypiClust(FeatureStrategy):
    """Ask for the most typical image of each cluster that has no labeled one, the largest clusters first.

    L ∪ U is clustered by k-means into min(|L| + b, 500) clusters (Hacohen et al. 2022), on features of length 1
    as in the authors' code. Clusters with the fewest labeled images come first, of these the largest; those of
    less than 5 images come last, where the authors leave them out. A turn takes one image of each; when all
    clusters had theirs, the next turn takes the next most typical. Typicality is ``1 / mean distance`` to the 20
    nearest neighbours in the cluster, Euclidean as in the paper (the authors' code squares it), labeled ones
    among them. It is meant for small budgets, with features that know more than the few labels: `FrozenFeatures`.

    Cost: features of both pools; O(n·k·D) a step of k-means, O(m²·D) for a cluster of m images, O(n) memory.
    """

    max_clusters: int = 500
    """The most clusters."""

    min_size: int = 5
    """Images below which a cluster comes last."""

    neighbors: int = 20
    """Nearest neighbours that make an image's typicality; all others of its cluster where it has fewer."""

    def __post_init__(self) -> None:
        for name in ("max_clusters", "min_size", "neighbors"):
            if getattr(self, name) < 1:
                raise UserError(f"TypiClust.{name} must be at least 1, not {getattr(self, name)}")

    def select(self, round: Round, budget: int) -> Selection:
        """Return `budget` positions in ``round.unlabeled`` in the order of picking; scores are typicalities.

        The score of an image that is alone in its cluster is NaN.
        """
        labeled, unlabeled = self.features.both(round)
        with round.timed("select"):
            points = F.normalize(torch.cat([labeled, unlabeled]))
            clusters = cluster(points, min(len(labeled) + budget, self.max_clusters), round.rng)
            points = points.to(distance_device(round))
            queues = deque(
                self.queue(points, np.flatnonzero(clusters == c), len(labeled), round.rng)
                for c in self.order(clusters, len(labeled))
            )
            picks: list[tuple[int, float]] = []
            while len(picks) < budget:
                pick = next(queues[0], None)
                if pick is None:
                    queues.popleft()
                else:
                    picks.append(pick)
                    queues.rotate(-1)
        positions, scores = zip(*picks, strict=True)
        return Selection(np.array(positions, dtype=np.int64), np.array(scores))

    def order(self, clusters: np.ndarray, labeled: int) -> np.ndarray:
        """Return clusters in the order of a turn, given the cluster of each of (n,) points, labeled ones first."""
        sizes = np.bincount(clusters)
        covered = np.bincount(clusters[:labeled], minlength=len(sizes))
        return np.lexsort((-sizes, covered, sizes < self.min_size))  # the last key counts first

    def queue(
        self, points: Tensor, members: np.ndarray, labeled: int, rng: np.random.Generator
    ) -> Iterator[tuple[int, float]]:
        """Yield position and typicality of a cluster's unlabeled images, the most typical first.

        Nothing is computed before the first is asked for.

        Args:
            points: (n, D), of which the first `labeled` are labeled.
            members: (m,) indices of the cluster's points.
        """
        free = members >= labeled
        if not free.any():
            return
        scores = typicality(points[torch.from_numpy(members).to(points.device)], self.neighbors).cpu().numpy()
        members, scores = members[free], scores[free]
        shuffled = rng.permutation(len(members))  # otherwise ties would fall to the pool's order
        for place in shuffled[np.argsort(-scores[shuffled], kind="stable")]:
            yield int(members[place]) - labeled, float(scores[place])


def cluster(points: Tensor, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the k-means cluster of each of (n, D) points on the CPU, (n,) in [0, count).

    Above `EXACT` points by mini-batches (Sculley 2010). Where fewer points are distinct, some clusters are empty.
    """
    seed = int(rng.integers(2**31))
    settings = {"n_clusters": min(count, len(points)), "n_init": 1, "random_state": seed}
    method = KMeans(**settings) if len(points) <= EXACT else MiniBatchKMeans(batch_size=4096, **settings)
    # scikit-learn's threads add up their shares in the order they finish: with several, runs differ in the last bit
    with threadpool_limits(1, "openmp"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        return method.fit_predict(points.numpy())


def typicality(points: Tensor, neighbors: int) -> Tensor:
    """Return ``1 / mean distance`` of each of (m, D) points to its nearest others, (m,); NaN for a single point.

    Copies of an image are at distance 0; 1e-5 is added to the mean, as in the authors' code, to keep it finite.
    """
    neighbors = min(neighbors, len(points) - 1)
    means = []
    for rows in torch.arange(len(points), device=points.device).split(BLOCK):
        nearest = torch.empty(len(rows), 0, dtype=torch.float64, device=points.device)
        for columns in torch.arange(len(points), device=points.device).split(BLOCK):
            distances = torch.cdist(points[rows].double(), points[columns].double())
            distances[rows[:, None] == columns] = torch.inf  # itself
            nearest = torch.cat([nearest, distances], 1)
            nearest = nearest.topk(min(neighbors, nearest.shape[1]), largest=False).values
        means.append(nearest.mean(1))
    return 1 / (torch.cat(means) + 1e-5)
