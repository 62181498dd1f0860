"""How many labels a strategy needs to reach a level, and how many it saves against Random.

A level that was not reached within the budgets, or was there from the start, is censored: all that is known is a
bound. Bounds stay bounds in everything computed from them; nothing is extrapolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from seg_al.reporting.statistics import check_curves

_ROUNDING = 1e-12  # a mean of scores that all equal the level may fall below it by rounding


@dataclass(frozen=True)
class Reached:
    """Number of labels at which a level is reached: `labels`, at most that ("<="), or more than that (">").

    NaN where nothing was measured. As text: "97", "≤ 37", "> 185", "n/a".
    """

    labels: float
    censored: Literal["", "<=", ">"] = ""

    def __str__(self) -> str:
        if math.isnan(self.labels):
            return "n/a"
        return {"": "", "<=": "≤ ", ">": "> "}[self.censored] + f"{self.labels:.0f}"


@dataclass(frozen=True)
class Saving:
    """Share of Random's labels that are not needed: `value`, at least that (">="), or at most that ("<=").

    Negative where more labels are needed than with Random; "undefined" with value NaN where nothing can be said.
    As text: "48 %", "≥ 35 %", "≤ -10 %", "undefined".
    """

    value: float
    bound: Literal["", ">=", "<=", "undefined"] = ""

    def __str__(self) -> str:
        if self.bound == "undefined":
            return self.bound
        return {"": "", ">=": "≥ ", "<=": "≤ "}[self.bound] + _percent(self.value)


@dataclass(frozen=True)
class ReachedInterval:
    """Labels to reach a level with a confidence interval over `n` seeds. As text: "97 [80, > 185]"."""

    estimate: Reached
    low: Reached
    high: Reached
    n: int

    def __str__(self) -> str:
        ends = "n/a" if math.isnan(self.low.labels) else f"{self.low}, {self.high}"
        return f"{self.estimate} [{ends}]"


@dataclass(frozen=True)
class SavingInterval:
    """Savings with a confidence interval over `n` seeds. As text: "48 % [35 %, open]".

    `low` is -inf and `high` is inf where that end is open: the budgets do not bound it.
    """

    estimate: Saving
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        ends = "n/a" if math.isnan(self.low) else f"{_percent(self.low)}, {_percent(self.high)}"
        return f"{self.estimate} [{ends}]"


def isotonic(curves: ArrayLike) -> np.ndarray:
    """Return the nearest non-decreasing curves in least squares (isotonic regression).

    By the max-min formula, fit_k = max_{i ≤ k} min_{j ≥ k} mean(m_i..m_j) (Robertson, Wright & Dykstra, "Order
    Restricted Statistical Inference", 1988, theorem 1.4.4), as that goes over any number of curves at once.
    O(K^2) a curve.

    Args:
        curves: (..., K) without NaN.
    """
    curves = np.asarray(curves, dtype=float)
    fit = np.full(curves.shape, -np.inf)
    for first in range(curves.shape[-1]):
        rest = curves[..., first:]
        means = np.cumsum(rest, axis=-1) / np.arange(1, rest.shape[-1] + 1)
        least = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        np.maximum(fit[..., first:], least, out=fit[..., first:])
    return fit


def labels_to_reach(budgets: ArrayLike, mean_curve: ArrayLike, level: float) -> Reached:
    """Return how many labels the curve needs to reach `level`.

    Of the isotonic fit m of the curve, the first k with m_k ≥ level, linearly interpolated: B_{k−1} + (level −
    m_{k−1})/(m_k − m_{k−1})·(B_k − B_{k−1}). "≤ B_0" if the first point is there already, "> B_K" if the last one
    is not. Budgets where the curve is NaN are left out, so B_0 and B_K are the first and the last one measured.

    Args:
        budgets: (K,) numbers of labels, ascending.
        mean_curve: (K,) mean score over seeds, the same ones at each budget.
        level: score to reach, such as 0.9 times that of the full data; NaN gives n/a.

    Raises:
        ValueError: as `check_curves`.
    """
    points, rows = check_curves(budgets, np.asarray(mean_curve, dtype=float)[None])
    measured = ~np.isnan(rows[0])
    points = points[measured]
    if not points.size:
        return Reached(math.nan)
    return _reached(_crossings(points, rows[:, measured], level)[0], points)


def savings(reached: Reached, reached_random: Reached) -> Saving:
    """Return 1 − N/N_random, or what is certain of it where N or N_random is a bound.

    At least: N ≤ B_0, or N_random > B_K, or both. At most: N > B_K, or N_random ≤ B_0, or both. Undefined where
    both are bounds to the same side, or one is n/a.
    """
    beyond = {"": 0.0, "<=": -math.inf, ">": math.inf}
    ranges = (
        _range(np.array(one.labels + beyond[one.censored]), one.labels, one.labels) for one in (reached, reached_random)
    )
    low, high = map(float, _saving_range(*ranges))
    if low == high:
        return Saving(low)
    if math.isfinite(low):
        return Saving(low, ">=")
    return Saving(high, "<=") if math.isfinite(high) else Saving(math.nan, "undefined")


def bootstrap_reached(
    budgets: ArrayLike,
    scores: ArrayLike,
    level: float,
    rng: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> ReachedInterval:
    """Return `labels_to_reach` of the seeds' mean curve, with a percentile bootstrap interval over seeds.

    Seeds are drawn with replacement, all rounds of a seed together. A resample that is censored lies beyond all
    others on its side, so an end of the interval beyond the budgets is a bound as well. The ends are resampled
    values themselves, the next ones outwards of the percentiles. Few seeds give too short an interval, and fewer
    than two give none (n/a).

    Args:
        budgets: (K,) numbers of labels, ascending.
        scores: (S, K), NaN where a round is missing. Budgets that no seed has are left out, then seeds that lack
            one of the others: `n` tells how many remain.
        level: score to reach; NaN gives n/a.
        rng: generator of the resamples.
        resamples: number of resamples.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: as `check_curves`.
    """
    (points, curves), *_ = _finished(*check_curves(budgets, scores))
    n = len(curves)
    estimate = labels_to_reach(points, curves.mean(0), level) if n else Reached(math.nan)
    if n < 2:
        return ReachedInterval(estimate, Reached(math.nan), Reached(math.nan), n)
    labels = _crossings(points, _resamples(n, resamples, rng) @ curves, level)
    low, high = _percentiles(labels, labels, confidence)
    return ReachedInterval(estimate, _reached(low, points), _reached(high, points), n)


def bootstrap_savings(
    budgets: ArrayLike,
    scores: ArrayLike,
    random_scores: ArrayLike,
    level: float,
    rng: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> SavingInterval:
    """Return `savings` of the seeds' mean curves, with a percentile bootstrap interval over paired seeds.

    As `bootstrap_reached`, with the same resample of seeds for both strategies. A resample whose saving is only
    bounded may have any value within its bounds: the low end of the interval is a percentile of the least values,
    the high end of the greatest, so the interval is never too short for being censored.

    Args:
        budgets, level, rng, resamples, confidence: as for `bootstrap_reached`.
        scores, random_scores: (S, K), rows paired by seed; only seeds that are complete in both count.

    Raises:
        ValueError: as `check_curves`.
    """
    both = _finished(*check_curves(budgets, scores, random_scores))
    n = len(both[0][1])
    if not n:
        return SavingInterval(Saving(math.nan, "undefined"), math.nan, math.nan, 0)
    estimate = savings(*(labels_to_reach(points, curves.mean(0), level) for points, curves in both))
    if n == 1:
        return SavingInterval(estimate, math.nan, math.nan, 1)
    weights = _resamples(n, resamples, rng)
    ranges = (_range(_crossings(points, weights @ curves, level), points[0], points[-1]) for points, curves in both)
    low, high = _percentiles(*_saving_range(*ranges), confidence)
    return SavingInterval(estimate, low, high, n)


def _finished(budgets: np.ndarray, *scores: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return of each strategy the budgets that any seed has, and the curves of the seeds complete in all strategies."""
    measured = [~np.isnan(rows).all(0) for rows in scores]
    complete = [~np.isnan(rows[:, some]).any(1) & some.any() for rows, some in zip(scores, measured, strict=True)]
    seeds = np.logical_and.reduce(complete)
    return [(budgets[some], rows[seeds][:, some]) for rows, some in zip(scores, measured, strict=True)]


def _resamples(n: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return the share of each of n seeds in each resample, (resamples, n)."""
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n


def _crossings(budgets: np.ndarray, curves: np.ndarray, level: float) -> np.ndarray:
    """Return the labels at which each of (R, K) curves reaches the level; -inf for "≤ B_0", inf for "> B_K"."""
    if math.isnan(level):
        return np.full(len(curves), np.nan)
    fit = isotonic(curves)
    reached = fit >= level - _ROUNDING
    row = np.arange(len(fit))
    after = reached.argmax(1)
    before = np.maximum(after - 1, 0)
    rise = fit[row, after] - fit[row, before]
    share = np.divide(level - fit[row, before], rise, out=np.zeros(len(fit)), where=rise > 0)
    labels = budgets[before] + np.minimum(share, 1) * (budgets[after] - budgets[before])
    labels[reached[:, 0]] = -np.inf
    labels[~reached[:, -1]] = np.inf
    return labels


def _reached(labels: float, budgets: np.ndarray) -> Reached:
    """Return one of `_crossings` as what it says."""
    if labels == -np.inf:
        return Reached(float(budgets[0]), "<=")
    return Reached(float(budgets[-1]), ">") if labels == np.inf else Reached(float(labels))


def _range(labels: np.ndarray, first: float, last: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest number of labels that each of `_crossings` may stand for."""
    low = np.where(labels == -np.inf, 0, np.where(labels == np.inf, last, labels))
    high = np.where(labels == -np.inf, first, labels)
    return low, high


def _saving_range(
    own: tuple[np.ndarray, np.ndarray], random: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest saving of ranges of labels; infinite where there is no bound."""
    with np.errstate(divide="ignore"):
        low, ratio = 1 - own[1] / random[0], own[0] / random[1]
    # no saving is above 1, but printed as an end 100 % would pass for a measurement
    return low, np.where(ratio == 0, np.inf, 1 - ratio)


def _percentiles(lows: np.ndarray, highs: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the ends of the percentile interval, no interpolation: there is none towards infinity."""
    outside = math.floor((1 - confidence) / 2 * (len(lows) - 1))
    return float(np.sort(lows)[outside]), float(np.sort(highs)[len(highs) - 1 - outside])


def _percent(value: float) -> str:
    return f"{round(100 * value)} %" if math.isfinite(value) else "open"
