"""Robust k-center: the mixed-integer program of Core-set, in a form that an open solver can answer."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import block_array, csr_array, eye_array
from scipy.spatial.distance import cdist

MAX_PAIRS = 10_000_000
"""Pairs of points within greedy's radius that are kept, 16 bytes each: all those of 3,000 points, fewer of more."""

BLOCK = 2**21
"""Distances computed at a time."""


def robust_k_center(
    points: np.ndarray, labeled: int, picks: np.ndarray, outliers: float = 1e-4, time_limit: float = 60.0
) -> np.ndarray:
    """Return the centers that cover all points but a few within the smallest radius (Sener & Savarese 2018, Sec. 4.2).

    A point's distance is that to its nearest center, labeled or picked; the radius is the largest of these
    once the Ξ = ⌊outliers·n⌋ largest are left out. The radius of the answer is the smallest possible, and where
    time or size does not allow to find it, still never above that of the greedy picks.

    Args:
        points: (n, D) float64, the labeled ones first.
        labeled: |L| ≥ 1, how many are.
        picks: (b,) the greedy answer, indices into `points`.
        outliers: share of the points that need not be covered, in [0, 1).
        time_limit: seconds for everything, not kept to the second: the solver looks at its clock now and then.

    Returns:
        (b,) int64 indices into `points`. The first is the center farthest from the labeled points, each next
        one the farthest from these and the ones before it, as greedy orders its own.

    Warns:
        where the time limit ends the search, which keeps the best answer found by then, or where more than
        `MAX_PAIRS` pairs are within greedy's radius. Without a better answer, `picks` are returned as they are.

    **The program.** The published one, solved for one radius δ at a time, has binary u_j (point j is a center),
    w_ij (i is assigned to j) and ξ_ij (and is an outlier there): Σ_j u_j = |L| + b, u_j = 1 on L,
    Σ_j w_ij = 1, w_ij ≤ u_j, w_ij ≤ ξ_ij where d_ij > δ, Σ_ij ξ_ij ≤ Ξ. That is 2n² variables. Solved here is

        Σ_{j: d_ij ≤ δ} u_j + o_i ≥ 1 for every i,   Σ_i o_i ≤ Ξ,   Σ_{j ∉ L} u_j ≤ b,   o_i ≥ 0,

    which the same u satisfy. Given u, w, ξ of the first, let o_i = Σ_{j: d_ij > δ} w_ij; they add up to Σ ξ_ij
    at most, and the rest of i, 1 − o_i = Σ_{j: d_ij ≤ δ} w_ij, is at most Σ_{j: d_ij ≤ δ} u_j. Given u, o of the
    second, assign each point to its nearest center: it lies within δ, or all u_j of the row are 0, o_i ≥ 1 and
    ξ_ij = 1 is paid for. Where fewer than b centers do, any others complete them. So there is a variable or two
    a point and an entry a pair within δ, and u_j = 1 on L removes the rows of what L covers. No pair beyond
    greedy's radius, none of a row that L covers at the lower bound, is ever kept.

    Any solution will do; the one asked for has the least Σ o_i, because the bound that comes with this aim lets
    the solver refuse a δ 10 to 100 times sooner than without an aim.

    **The bisection** is over existing distances between a lower bound and greedy's radius, to the smallest δ
    that is feasible; an answer counts with the radius it reaches, which may be below the δ asked for. The paper
    starts from half the greedy radius, which is a lower bound for Ξ = 0 only. In general: go on greedily for Ξ
    picks after the b. These points and the one then farthest are b + Ξ + 1, at least a distance g from each
    other and from L. Of any b + 1 of them, two share a new center or one is covered by L, so a radius is at
    least g / 2.

    Cost: O(n·(|L| + b)·D) for the bounds, O(m·n·D) for the pairs of the m points that L does not cover at the
    lower bound, then 10 to 20 programs. Memory: the pairs, and one block of distances. On one core, with 10 % of
    the points labeled and 5 % to pick, 3,000 points took 4 s and 7,000 took 20 to 50 s; at 15,000 a limit of
    60 s ended the search without an answer. Few centers in one dense cloud are harder: 2,000 points, 40 labeled
    and 40 to pick, came within 0.2 % of the optimum in 60 s. An answer that the time limit cut short depends on
    the speed of the machine.
    """
    deadline = time.monotonic() + time_limit
    spare = math.floor(outliers * len(points) + 1e-9)  # a share such as 0.29 of 100 is a hair below 29
    best, reached, excluded = picks, math.inf, 0.0
    try:
        to_labeled = _nearest(points, np.arange(labeled), deadline)
        lower, upper = _bounds(points, to_labeled, picks, spare, deadline)
        if upper <= lower:  # greedy is optimal, as where each point is at a center
            return picks
        reached, excluded = upper, lower
        pairs = _pairs(points, labeled, np.flatnonzero(to_labeled > lower), upper, deadline)
        if len(pairs.distance) > MAX_PAIRS:
            warnings.warn(
                f"robust k-center: more than {MAX_PAIRS:,} pairs of points lie within greedy's radius, too many "
                "to solve for; the greedy answer is kept",
                stacklevel=2,
            )
            return picks
        deltas = np.concatenate([pairs.distance, to_labeled, [upper]])
        deltas = np.unique(deltas[(deltas >= lower) & (deltas <= upper)])
        low, high = 0, len(deltas) - 1
        while low < high:
            middle = (low + high) // 2
            centers = _cover(pairs, to_labeled, labeled, deltas[middle], len(picks), spare, deadline)
            if centers is None:
                low = middle + 1
                excluded = deltas[low]
                continue
            radius = _radius(np.minimum(to_labeled, _nearest(points, centers, deadline)), spare)
            if radius < reached:
                best, reached = centers, radius
            high = min(middle, int(np.searchsorted(deltas, radius)))
    except TimeoutError:
        kept = "the greedy answer is kept" if best is picks else f"an answer of radius {reached:.6g} is kept"
        warnings.warn(
            f"robust k-center: the time limit of {time_limit:g} s ended the search; {kept}, "
            f"none below {excluded:.6g} is possible",
            stacklevel=2,
        )
    return picks if best is picks else _farthest_first(points, to_labeled, best, len(picks))


@dataclass(frozen=True)
class _Pairs:
    """Pairs within greedy's radius: point `row` (of those L may leave uncovered) and possible center `column`."""

    points: np.ndarray
    """(m,) the points that rows stand for."""
    row: np.ndarray
    column: np.ndarray
    distance: np.ndarray
    """Each (pairs,). Columns count from the first unlabeled point."""


def _nearest(points: np.ndarray, centers: np.ndarray, deadline: float) -> np.ndarray:
    """Return the distance of each point to its nearest center, (n,)."""
    nearest = np.full(len(points), np.inf)
    step = max(1, BLOCK // len(points))
    for start in range(0, len(centers), step):
        _in_time(deadline)
        np.minimum(nearest, cdist(points, points[centers[start : start + step]]).min(1), out=nearest)
    return nearest


def _radius(nearest: np.ndarray, spare: int) -> float:
    """Return the largest distance once the `spare` largest are left out."""
    return float(np.partition(nearest, -1 - spare)[-1 - spare])


def _bounds(
    points: np.ndarray, to_labeled: np.ndarray, picks: np.ndarray, spare: int, deadline: float
) -> tuple[float, float]:
    """Return a radius that no answer can be below, and that of the picks."""
    nearest, gaps = to_labeled.copy(), []

    def add(center: int) -> None:
        gaps.append(nearest[center])
        np.minimum(nearest, _nearest(points, np.array([center]), deadline), out=nearest)

    for pick in picks:
        add(pick)
    upper = _radius(nearest, spare)
    for _ in range(spare):
        add(int(nearest.argmax()))
    return min(*gaps, nearest.max()) / 2, upper


def _pairs(points: np.ndarray, labeled: int, rows: np.ndarray, radius: float, deadline: float) -> _Pairs:
    """Return the pairs of the points `rows` and the unlabeled ones within a radius; soon after `MAX_PAIRS` it stops."""
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    step, total = max(1, BLOCK // (len(points) - labeled)), 0
    for start in range(0, len(rows), step):
        _in_time(deadline)
        distance = cdist(points[rows[start : start + step]], points[labeled:])
        row, column = np.nonzero(distance <= radius)
        found.append(((row + start).astype(np.int32), column.astype(np.int32), distance[row, column]))
        total += len(row)
        if total > MAX_PAIRS:
            break
    row, column, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _Pairs(rows, row, column, distance)


def _cover(
    pairs: _Pairs, to_labeled: np.ndarray, labeled: int, delta: float, budget: int, spare: int, deadline: float
) -> np.ndarray | None:
    """Return at most `budget` centers that leave at most `spare` points uncovered at `delta`; None: there are none.

    Raises:
        TimeoutError: the solver could not tell by the deadline.
    """
    needs = to_labeled[pairs.points] > delta
    keep = (pairs.distance <= delta) & needs[pairs.row]
    row, column = (np.cumsum(needs) - 1)[pairs.row[keep]], pairs.column[keep]
    m, n = int(needs.sum()), len(to_labeled) - labeled
    covered_by = csr_array((np.ones(len(row)), (row, column)), shape=(m, n))
    result = milp(
        np.repeat([0.0, 1.0], [n, m]),
        integrality=np.repeat([1, 0], [n, m]),  # the least o_i is an integer where u are
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(
            block_array([[covered_by, eye_array(m)], [np.ones((1, n)), None], [None, np.ones((1, m))]], format="csc"),
            np.concatenate([np.ones(m), [0, 0]]),
            np.concatenate([np.full(m, np.inf), [budget, spare]]),
        ),
        options={"time_limit": _in_time(deadline)},
    )
    if result.status == 2:  # infeasible
        return None
    if result.status != 0:
        raise TimeoutError
    return labeled + np.flatnonzero(result.x[:n] > 0.5)


def _farthest_first(points: np.ndarray, to_labeled: np.ndarray, centers: np.ndarray, budget: int) -> np.ndarray:
    """Return the centers in greedy order, completed to `budget` by the points that are farthest from them."""
    nearest, left, order = to_labeled.copy(), centers, []
    for _ in range(budget):
        pick = int(left[nearest[left].argmax()] if len(left) else nearest.argmax())
        order.append(pick)
        left = left[left != pick]
        np.minimum(nearest, _nearest(points, np.array([pick]), math.inf), out=nearest)
    return np.array(order, np.int64)


def _in_time(deadline: float) -> float:
    """Return the seconds left, above 0; TimeoutError where there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
