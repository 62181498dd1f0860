"""Greedy k-center, exact and lazy, over any metric."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from seg_al.config import UserError

ROWS, CENTERS = 2048, 4096
"""Points and centers of the largest block of distances that is ever asked for."""

STEP = 256
"""Centers that a point is compared with at a time, at least; then as many as it has been compared with already."""

CHOSEN = -1.0
"""Stands for the distance of a point that is a center."""


class Metric(Protocol):
    """Distances between points that are known by their index, computed a block at a time; write a subclass.

    Greedy k-center breaks ties by index, so equal distances should come out equal in every block.
    """

    def __len__(self) -> int:
        """Return the number of points."""
        ...

    def distances(self, rows: Tensor, centers: Tensor) -> Tensor:
        """Return distances (r, c), non-negative, between points `rows` (r,) and `centers` (c,), int64 indices."""
        ...

    def nearest(self, rows: Tensor, centers: Tensor) -> Tensor:
        """Return the distance of each of `rows` to the nearest of `centers`, (r,)."""
        return self.distances(rows, centers).amin(1)


class Euclidean(Metric):
    """Euclidean distances between the rows of features (n, D), right to the last digits of float64.

    ``|c|² − 2·x·c`` as a matrix product is fast, but cancels where points are close; differences are right, but
    slow. So products in float64 tell which centers can be the nearest, within a bound of their rounding, and
    differences give the distance to those: duplicates are at distance 0, equal distances are equal, and no
    result depends on blocks or threads.

    Args:
        features: (n, D), finite, on a device with float64; they are not copied.
    """

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self.squares = torch.cat([part.double().square().sum(1) for part in features.split(ROWS)])

    def __len__(self) -> int:
        return len(self.features)

    def distances(self, rows: Tensor, centers: Tensor) -> Tensor:
        """Return distances (r, c) in float64."""
        return _from_differences(self._features(rows), self._features(centers))

    def nearest(self, rows: Tensor, centers: Tensor) -> Tensor:
        """Return the distance of each of `rows` to the nearest of `centers`, (r,): ``distances(...).amin(1)``."""
        x, c = self._features(rows), self._features(centers)
        squares = self.squares[centers]
        products = torch.addmm(squares, x, c.T, alpha=-2)
        lowest, first = products.min(1)
        nearest = _from_differences(x[:, None], c[first][:, None]).flatten()
        epsilon = torch.finfo(torch.float64).eps
        rounding = (4 * x.shape[1] + 16) * epsilon * (self.squares[rows] + squares.max())
        rivals = (products <= (lowest + rounding)[:, None]).scatter_(1, first[:, None], False)
        rivals[nearest == 0] = False  # nothing is nearer; this spares pools full of duplicates
        for pairs in rivals.nonzero().split(ROWS):
            row, center = pairs.unbind(1)
            distances = _from_differences(x[row][:, None], c[center][:, None]).flatten()
            nearest.scatter_reduce_(0, row, distances, "amin")
        return nearest

    def _features(self, indices: Tensor) -> Tensor:
        return self.features.index_select(0, indices.to(self.features.device)).double()


def _from_differences(x: Tensor, c: Tensor) -> Tensor:
    return torch.cdist(x, c, compute_mode="donot_use_mm_for_euclid_dist")


def nearest_center(metric: Metric, rows: Tensor, centers: Tensor) -> Tensor:
    """Return the distance of each of `rows` to the nearest of `centers`, (r,) float64 on the CPU, block by block."""
    return torch.cat(
        [
            torch.stack([metric.nearest(block, some).double().cpu() for some in centers.split(CENTERS)]).amin(0)
            for block in rows.split(ROWS)
        ]
    )


def k_center_greedy(metric: Metric, centers: Tensor, budget: int) -> tuple[Tensor, Tensor]:
    """Return `budget` points, each the farthest from its nearest center when it was picked, and these distances.

    Greedy k-center (Gonzalez 1985; Sener & Savarese 2018, Alg. 1): ``u = argmax_i min_j d(i, j)`` over centers j
    becomes a center, and so on; of points equally far the one of lowest index. See `LazyGreedy` for how.

    Args:
        metric: n points.
        centers: (c,) int64, distinct: indices of the first centers.
        budget: b, points to pick, at most n − c.

    Returns:
        indices (b,) int64 and distances (b,) float64, on the CPU.

    Raises:
        UserError: the budget is more than there are points left.

    Cost: at worst of the order of n·(c + b) distances, as a rule far fewer: 15 % of them where 2,500 of 36,000 are
    picked beside 4,000 centers, half where there is one center at the start and picks bring the radius down a lot.
    O(n) memory, beside a block of at most `ROWS` x `CENTERS` distances.
    """
    return LazyGreedy(metric, centers, budget).run()


class LazyGreedy:
    """The work of `k_center_greedy`: `run` once, then `evaluated` tells how many distances it took.

    The picks are those of a scan of all points for each of them, without the scans. A point's distance to its
    nearest center only falls while centers are added, so an old one is an upper bound, and a point is compared
    with more centers only while its bound is among the highest (lazy greedy, Minoux 1978). Some √n points of the
    highest bounds are taken together: once they know all centers they are compared among each other, and picks
    go on among them for as long as no other point may be farther. The first centers are treated no differently:
    most points are near enough to some of them to never need the others.

    Points come in the order of their keys, ``(-bound, index)``: the farthest first, of equal ones the lowest index.
    """

    def __init__(self, metric: Metric, centers: Tensor, budget: int) -> None:
        n, first = len(metric), len(centers)
        if not 0 <= budget <= n - first:
            raise UserError(f"k-center: cannot pick {budget} of {n - first} points")
        self.metric = metric
        # In random order any few of them represent all, which those of a sorted pool would not.
        order = torch.randperm(first, generator=torch.Generator().manual_seed(0))
        self.centers = torch.cat([centers.cpu()[order], torch.empty(budget, dtype=torch.int64)])
        self.known = first  # how many of these are centers yet
        self.seen = torch.zeros(n, dtype=torch.int64)  # how many of them a point was compared with
        self.bound = torch.full((n,), math.inf, dtype=torch.float64)  # distance to the nearest of those
        self.bound[self.centers[:first]] = CHOSEN
        self.window = min(math.isqrt(n) + 1, ROWS)  # among each other these take as many distances as one scan
        self.evaluated = 0

    def run(self) -> tuple[Tensor, Tensor]:
        """Return all picks (b,) and their distances (b,)."""
        first = self.known
        size = several = 4 * self.window  # points are compared with centers some windows ahead, as products are fast
        distances: list[float] = []
        self.refresh((self.bound != CHOSEN).nonzero().flatten())
        while self.known < len(self.centers):
            rows, edge = self.highest(size)
            self.refresh(rows)
            picked = self.pick(rows, edge)
            distances += picked
            size = several if picked else min(2 * size, 2 * ROWS)
        return self.centers[first:], torch.tensor(distances, dtype=torch.float64)

    def highest(self, size: int) -> tuple[Tensor, tuple[float, int]]:
        """Return the first `size` points, and a key that comes before those of all others."""
        last = self.bound.topk(min(size, len(self.bound))).values[-1]
        above, equal = (self.bound > last).nonzero().flatten(), (self.bound == last).nonzero().flatten()
        rows = torch.cat([above, equal[: size - len(above)]])
        return rows[self.bound[rows] != CHOSEN], (-float(last), int(rows[-1]) + 1)

    def refresh(self, rows: Tensor) -> None:
        """Compare points with centers they do not know: with as many as they do know, and `STEP` at least."""
        rows = rows[self.seen[rows] < self.known]
        rows = rows[self.seen[rows].argsort(stable=True)]
        while len(rows):
            start = int(self.seen[rows[0]])
            stop = min(self.known, start + max(start, STEP))
            group = rows[self.seen[rows] <= (start + stop) // 2]  # the others have seen too much of this
            nearest = nearest_center(self.metric, group, self.centers[start:stop])
            self.bound[group] = self.bound[group].minimum(nearest)
            self.seen[group] = stop
            self.evaluated += len(group) * (stop - start)
            rows = rows[len(group) :]

    def pick(self, rows: Tensor, edge: tuple[float, int]) -> list[float]:
        """Pick among `rows` until any other point may come before; return the distances of the picks, if any.

        Args:
            edge: a key that comes before those of all points outside `rows`.
        """
        stale = (self.seen[rows] < self.known).tolist()
        keys = sorted(zip((-self.bound[rows]).tolist(), rows.tolist(), stale, strict=True))
        count = next((place for place, key in enumerate(keys) if key[2] or key[:2] >= edge), len(keys))
        count = min(count, self.window)
        edge = min([edge, *(key[:2] for key in keys[count : count + 1])])
        rows = torch.tensor(sorted(index for _, index, _ in keys[:count]), dtype=torch.int64)
        if not count:
            return []
        between = self.metric.distances(rows, rows).double().cpu().numpy()
        self.evaluated += count * count
        bound, indices = self.bound[rows].numpy(), rows.tolist()
        distances: list[float] = []
        while self.known < len(self.centers):
            best = int(bound.argmax())  # the first of equal ones
            if (-bound[best], indices[best]) >= edge:
                break
            distances.append(float(bound[best]))
            self.centers[self.known] = indices[best]
            self.known += 1
            bound = np.minimum(bound, between[:, best])
            bound[best] = CHOSEN
        self.bound[rows], self.seen[rows] = torch.from_numpy(bound), self.known
        return distances
