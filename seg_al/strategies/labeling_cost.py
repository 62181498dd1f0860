"""What labeling an image will cost, predicted; and the best query that keeps to a budget of it."""

from __future__ import annotations

import math
import warnings

import cv2
import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from seg_al.config import Component, UserError

SMALLEST_CORE, LARGEST_CORE = 64, 4096
"""Images that the integer program decides about, at first and at most; see `knapsack`."""

NODES = 1000
"""Nodes of its branch and bound. Not seconds, so that a query does not depend on the machine's speed."""

NEGLIGIBLE = 1e-4
"""Share of the total score that a query may miss without more ado: the hundredth of an image in a hundred."""

ROUNDING = 1e-6
"""Share of the limit that a query's cost may exceed it by, the integer program's tolerance."""


class LabelingCost(Component):
    """Cost of drawing an image's mask, predicted from a predicted mask: its boundaries and its components.

    Kuo et al. 2018 predict labeling time by a log-regression on the length of boundaries and the number of
    connected components, both of the committee's mean prediction. From the paper are these two quantities;
    its regression is fitted to measured times, which only a project of its own has, so here they are added
    with weights. The paper has one class and averages over thresholds; with several classes the mask is the
    most probable class of each pixel, and every class counts, as every pixel is to be labeled.

    Only the ratio of two images' costs matters, never the unit. An image that is labeled as a whole costs 1.
    """

    boundary: float = 1.0
    """Cost of boundaries between classes as long as a side of the image (the root of its area)."""

    component: float = 1.0
    """Cost of each connected area of a class."""

    def __post_init__(self) -> None:
        if min(self.boundary, self.component) < 0 or self.boundary + self.component == 0:
            raise UserError(
                "LabelingCost.boundary and .component must not be negative, nor both 0: "
                f"not {self.boundary} and {self.component}"
            )

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Map the probabilities of pixels (B, C, h, w), or of whole images (B, C), to costs (B,)."""
        if probabilities.dim() == 2:
            return torch.ones(len(probabilities))
        mask = probabilities.argmax(1)
        sides = boundary_length(mask).cpu() / math.sqrt(mask[0].numel())
        return self.boundary * sides + self.component * component_count(mask)


def boundary_length(mask: Tensor) -> Tensor:
    """Return the length of all boundaries between classes, in sides of pixels: (B, h, w) classes to (B,)."""
    across = mask[:, 1:] != mask[:, :-1]
    along = mask[:, :, 1:] != mask[:, :, :-1]
    return across.flatten(1).sum(1) + along.flatten(1).sum(1)


def component_count(mask: Tensor) -> Tensor:
    """Return the number of 8-connected areas of one class: (B, h, w) classes to (B,)."""
    counts = []
    for classes in mask.cpu().numpy():
        areas = ((classes == c).astype(np.uint8) for c in np.unique(classes))
        counts.append(sum(cv2.connectedComponents(area)[0] - 1 for area in areas))  # the rest of the image is one
    return torch.tensor(counts)


def knapsack(scores: np.ndarray, costs: np.ndarray, count: int, limit: float, rng: np.random.Generator) -> np.ndarray:
    """Return the positions of exactly `count` items of the highest total score that cost at most `limit`.

    A 0-1 knapsack of given cardinality. Its Lagrangian relaxation, a price for each unit of cost, gives an
    affordable query and a bound on the best one. What is far from that price's threshold is decided by the
    bound; a core of items near it is left to an integer program (HiGHS), and grows until the bound proves
    that the rest is decided rightly (Balas & Zemel 1980). So the pool may have a million images, where the
    integer program alone finds no query at all of 2,000 out of 36,000 in minutes.

    Args:
        scores, costs: (N,) floats; costs are not negative.
        limit: of the sum of costs; kept to within a millionth.
        rng: decides between items alike.

    Returns:
        (count,) positions, the highest scores first. Their total score is the highest possible, or within
        `NEGLIGIBLE` of it; where neither could be proved, a warning says by how much it may be missed.

    Raises:
        ValueError: even the cheapest items cost more.
    """
    cheapest = np.partition(costs, count - 1)[:count].sum()
    limit *= 1 + 1e-9  # sums are rounded
    if cheapest > limit:
        raise ValueError(f"{count} items cost at least {cheapest}, more than {limit}")
    order = rng.permutation(len(scores))  # otherwise ties would fall to the pool's order
    chosen = order[_knapsack(scores[order], costs[order], count, limit)]
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def _knapsack(scores: np.ndarray, costs: np.ndarray, count: int, limit: float) -> np.ndarray:
    best = _highest(scores, count)
    if costs[best].sum() <= limit:
        return best
    price, best = _price(scores, costs, count, limit)
    values = scores - price * costs
    bound = values[best].sum() + price * limit  # no query can score higher
    inside = np.zeros(len(scores), bool)
    inside[best] = True
    threshold = (values[inside].min() + values[~inside].max()) / 2
    loss = np.abs(values - threshold)  # at least what deciding otherwise about an item takes from the bound
    by_loss = np.argsort(loss, kind="stable")
    size = SMALLEST_CORE
    while True:
        core, rest = by_loss[:size], by_loss[size:]
        kept = rest[inside[rest]]
        found, proved = _integer_program(scores[core], costs[core], count - len(kept), limit - costs[kept].sum())
        query = np.concatenate([kept, core[found]])
        affordable = len(query) == count and costs[query].sum() <= limit * (1 + ROUNDING)
        if affordable and scores[query].sum() > scores[best].sum():
            best = query
        gap = bound - scores[best].sum()
        needed = int((loss < gap).sum())  # a core of these suffices
        if (proved and needed <= size) or gap <= NEGLIGIBLE * abs(bound):
            return best
        if needed <= size or size >= LARGEST_CORE:
            warnings.warn(f"the query's total score may be {gap / abs(bound):.2g} of it below the best", stacklevel=4)
            return best
        size = min(4 * size, needed, LARGEST_CORE)


def _highest(values: np.ndarray, count: int) -> np.ndarray:
    return np.argpartition(-values, count - 1)[:count]


def _price(scores: np.ndarray, costs: np.ndarray, count: int, limit: float) -> tuple[float, np.ndarray]:
    """Return the lowest price per cost at which the `count` items of the highest net score are affordable; and these.

    That price minimises the Lagrangian bound.
    """
    low, high = 0.0, float((np.ptp(scores) or 1.0) / costs.mean())
    best = _highest(scores - high * costs, count)
    while costs[best].sum() > limit:
        low, high = high, 2 * high
        best = _highest(scores - high * costs, count)
    for _ in range(64):  # then it is as exact as floats are
        middle = (low + high) / 2
        query = _highest(scores - middle * costs, count)
        if costs[query].sum() <= limit:
            high, best = middle, query
        else:
            low = middle
    return high, best


def _integer_program(scores: np.ndarray, costs: np.ndarray, count: int, limit: float) -> tuple[np.ndarray, bool]:
    """Return which items to take (bool), none where no solution was found; and whether they are proved the best."""
    score, cost = (max(float(np.abs(v).max()), 1e-300) for v in (scores, costs))  # tolerances are absolute
    constraints = LinearConstraint(
        np.stack([np.ones(len(costs)), costs / cost]), [count, -np.inf], [count, limit / cost]
    )
    result = milp(
        -scores / score, constraints=constraints, integrality=np.ones(len(scores)), bounds=Bounds(0, 1),
        options={"node_limit": NODES, "mip_rel_gap": 0},
    )  # fmt: skip
    found = np.zeros(len(scores), bool) if result.x is None else result.x > 0.5
    return found, result.status == 0
