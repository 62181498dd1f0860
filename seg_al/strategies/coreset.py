"""Core-set: Sener & Savarese, ICLR 2018."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_al.config import UserError
from seg_al.strategies.base import Selection
from seg_al.strategies.features import FeatureStrategy, distance_device
from seg_al.strategies.kcenter import Euclidean, LazyGreedy, Metric, nearest_center

if TYPE_CHECKING:
    from seg_al.round import Round


class CoreSet(FeatureStrategy):
    """Core-set: the images farthest, in feature space, from all that are labeled (Sener & Savarese 2018).

    Greedy k-center (Alg. 1): ``u = argmax_{i ∈ U} min_{j ∈ L ∪ S} ‖f_i − f_j‖₂`` joins the query S, b times; f is
    the task model's map before its classifier, averaged over space, without dropout or augmentation. The radius
    within which every image then has a labeled one is at most twice the smallest possible. Of images equally
    far the first in the pool is taken. The score of an image is its distance when it was picked.

    Logs ``coreset``: ``radius``, the distance of the farthest image once the query is labeled, and
    ``evaluated``, the share of the N·(|L| + b) distances that were computed.

    Cost: one pass of the model over both pools; a fraction of N·(|L| + b) distances of D multiplications, see
    `LazyGreedy`; D floats an image.
    """

    cosine: bool = False
    """Scale features to length 1, so that their directions alone count."""

    robust: bool = False
    """Improve the greedy query by the paper's mixed-integer program (§4.2), which leaves outliers uncovered. For
    pools of some thousand images. Radii are then logged with the outliers left out, also ``greedy_radius``."""

    outliers: float = 1e-4
    """Where `robust`: share Ξ/n of all images that may lie outside the radius."""

    time_limit: float = 60.0
    """Where `robust`: seconds after which the best query found by then is taken."""

    def __post_init__(self) -> None:
        if not 0 <= self.outliers < 1:
            raise UserError(f"CoreSet.outliers must be at least 0 and below 1, not {self.outliers}")
        if not self.time_limit > 0:
            raise UserError(f"CoreSet.time_limit must be above 0, not {self.time_limit}")

    def select(self, round: Round, budget: int) -> Selection:
        """Return `budget` positions in ``round.unlabeled``, the farthest first.

        Raises:
            UserError: features are NaN or infinite.
        """
        points = torch.cat(self.features.both(round))
        with round.timed("select"):
            points = points.to(distance_device(round))
            metric = Euclidean(F.normalize(points) if self.cosine else points)
            labeled, count = torch.arange(len(round.labeled)), len(round.unlabeled)
            greedy = LazyGreedy(metric, labeled, min(budget + 1, count))  # one more, to know the radius
            picks, distances = greedy.run()
            report = {
                "radius": float(distances[budget]) if len(picks) > budget else 0.0,
                "evaluated": greedy.evaluated / (count * len(greedy.centers)),
            }
            picks, distances = picks[:budget], distances[:budget]
            if self.robust:
                report["greedy_radius"] = self._radius(metric, labeled, picks)
                picks, distances = self._improved(metric, labeled, picks, distances)
                report["radius"] = self._radius(metric, labeled, picks)
            round.log(coreset=report)
            return Selection((picks - len(labeled)).numpy(), distances.numpy())

    def _improved(self, metric: Euclidean, labeled: Tensor, greedy: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Return the robust program's query and its distances; the greedy one's where that is not improved."""
        from seg_al.strategies.robust_kcenter import robust_k_center  # the solver is for those who ask for it

        points = metric.features.double().cpu().numpy()
        picks = torch.from_numpy(robust_k_center(points, len(labeled), greedy.numpy(), self.outliers, self.time_limit))
        if torch.equal(picks, greedy):
            return greedy, distances
        earlier = torch.ones(len(picks), len(picks), dtype=torch.bool).tril(-1)
        between = metric.distances(picks, picks).cpu().masked_fill(~earlier, math.inf).amin(1)
        return picks, nearest_center(metric, picks, labeled).minimum(between)

    def _radius(self, metric: Metric, labeled: Tensor, picks: Tensor) -> float:
        """Return the radius within which all images but `outliers` have a labeled or picked one."""
        nearest = nearest_center(metric, torch.arange(len(metric)), torch.cat([labeled, picks]))
        spared = math.floor(self.outliers * len(nearest) + 1e-9)
        return float(nearest.sort(descending=True).values[spared])
