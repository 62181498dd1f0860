"""k-means++ seeding: spread-out points, drawn with probability in proportion to their squared distance D²."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from seg_al.config import UserError

# What decides when to bring all distances up to date, in multiplications. Only speed depends on them.
DRAW_COST = 500_000
"""Of drawing a point, beside measuring its distances."""
BLOCK_COST = 0.1
"""Of a further center in a pass over all points, as a share of the first's: products of matrices are fast."""

ROWS = 4096
"""Points a block when distances of all are measured."""


def kmeans_pp(points: Tensor, count: int, first: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` of (n, d) points by k-means++ (Arthur & Vassilvitskii 2007, §2.2), the first one given.

    Each next point x is drawn with probability D²(x) / Σ D², D the Euclidean distance to the nearest point
    drawn before. This is exact, without measuring all n distances a draw. As D² only falls, one measured
    earlier, W, is an upper bound: x is drawn in proportion to W, then measured and accepted with probability
    D²(x) / W(x), else drawn anew with the smaller bound in place. Whatever the bounds, a draw so ends in x
    with probability W(x) / Σ W · D²(x) / W(x), in proportion to D²(x).

    Where bounds have become loose, all are measured anew by blocks, once the rejected draws have cost as
    much as that. So the time is at most about twice that of measuring all distances at each draw, and mostly
    a small part of it; a distance of two points is measured at most twice.

    Args:
        points: float32, on the CPU.
        first: index of the first point.

    Returns:
        indices: (count,) int64, distinct, in the order they were drawn. A point that equals a drawn one comes
            only after all others, uniformly.
        squared: (count,) D² of each when it was drawn; NaN for the first.

    Raises:
        UserError: distances are not finite.

    Memory: the points, as many centers, and a few numbers a point.
    """
    n, dims = points.shape
    distances = _Distances(points, count)
    indices, squared = np.empty(count, np.int64), np.full(count, np.nan)
    indices[0] = first
    distances.add(first)
    distances.refresh()
    if not np.isfinite(distances.bounds.values).all():
        raise UserError("k-means++ met distances that are not finite; the model has diverged")
    wasted = 0.0
    for k in range(1, count):
        while distances.bounds.sums.any():
            index = distances.bounds.draw(rng)
            bound, pending = distances.bounds.values[index], k - distances.known[index]
            distances.update(index)
            if rng.random() * bound < distances.bounds.values[index]:
                break
            wasted += pending * dims + DRAW_COST
            if wasted > n * dims * (1 + BLOCK_COST * (k - distances.refreshed)):
                distances.refresh()
                wasted = 0.0
        else:  # what is left equals what was drawn
            left = np.setdiff1d(np.arange(n), indices[:k])
            indices[k:], squared[k:] = rng.permutation(left)[: count - k], 0.0
            break
        indices[k], squared[k] = index, distances.bounds.values[index]
        distances.add(index)
    return indices, squared


class _Distances:
    """Squared distances of points to the nearest of a growing set of centers, brought up to date when asked.

    Attributes:
        bounds: of each point, its squared distance to the nearest of the first `known` centers; 0 for centers.
        known: of each point, (n,).
        refreshed: the centers that are known to all.
    """

    def __init__(self, points: Tensor, most: int) -> None:
        self.points = points
        self.halves = torch.linalg.vector_norm(points, dim=1).square() / 2
        self.centers = points.new_empty(most, points.shape[1])
        self.center_halves = points.new_empty(most)
        self.count = self.refreshed = 0
        self.bounds = _Weights(np.full(len(points), np.inf))
        self.known = np.zeros(len(points), np.int64)

    def add(self, index: int) -> None:
        """Make a point a center."""
        self.centers[self.count] = self.points[index]
        self.center_halves[self.count] = self.halves[index]
        self.count += 1
        self.bounds.put(index, 0.0)

    def update(self, index: int) -> None:
        """Bring a point's distance up to date."""
        if self.known[index] < self.count:
            rows = slice(index, index + 1)
            self.bounds.put(index, self._measured(rows, self.known[index])[0])
            self.known[index] = self.count

    def refresh(self) -> None:
        """Bring all distances up to date."""
        for start in range(0, len(self.points), ROWS):
            rows = slice(start, min(start + ROWS, len(self.points)))
            self.bounds.values[rows] = self._measured(rows, self.refreshed)
        self.bounds.sum_up()
        self.known[:] = self.refreshed = self.count

    def _measured(self, rows: slice, since: int) -> np.ndarray:
        """Return the bounds of `rows`, lowered to the distances from centers `since` on where these are smaller.

        The nearest center is found by inner products, ½|x − c|² = ½|x|² + ½|c|² − x·c, and its distance
        measured by differences, so that what equals a center is at exactly 0.
        """
        squared = self.bounds.values[rows].copy()
        points, centers = self.points[rows], self.centers[since : self.count]
        half, nearest = torch.addmm(self.center_halves[since : self.count], points, centers.T, alpha=-1).min(1)
        near = np.flatnonzero((2 * (half + self.halves[rows])).numpy() < squared)
        if len(near):
            difference = points[near] - centers[nearest[near]]
            measured = torch.linalg.vector_norm(difference, dim=1).double().square().numpy()
            squared[near] = np.minimum(squared[near], measured)
        return squared


class _Weights:
    """Non-negative weights of n things, drawn and changed in O(√n): they lie in √n rows, whose sums are kept."""

    def __init__(self, values: np.ndarray) -> None:
        side = math.isqrt(len(values) - 1) + 1
        self.rows = np.zeros((side, side))
        self.values = self.rows.reshape(-1)[: len(values)]
        self.values[:] = values
        self.sum_up()

    def sum_up(self) -> None:
        """Sum the rows anew, after `values` were changed."""
        self.sums = self.rows.sum(1)

    def put(self, index: int, value: float) -> None:
        """Change one weight."""
        self.values[index] = value
        row = index // len(self.rows)
        self.sums[row] = self.rows[row].sum()

    def draw(self, rng: np.random.Generator) -> int:
        """Draw an index in proportion to the weights, of which one at least is above 0."""
        row = _draw(self.sums, rng)
        return row * len(self.rows) + _draw(self.rows[row], rng)


def _draw(weights: np.ndarray, rng: np.random.Generator) -> int:
    cumulative = np.cumsum(weights)
    below = np.nextafter(cumulative[-1], 0)  # the product can round to the sum itself, where nothing is left
    return int(np.searchsorted(cumulative, min(rng.random() * cumulative[-1], below), side="right"))
