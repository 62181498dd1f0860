"""Statistics of a study: strategies compared over paired seeds, budget by budget and over the whole curve.

Scores are (S, K) arrays: a row a seed, a column a budget, NaN where a round is missing. Row s of every strategy is
the same seed, and so the same initial pool and initial weights: strategies are compared by their differences
within a seed, never by how far apart their means are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats


class Band(NamedTuple):
    """Mean over seeds and its confidence interval, (K,) each; `n` (K,) counts the seeds that a mean is over."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray


class Difference(NamedTuple):
    """Mean of paired differences, its confidence interval, and the t-test of it being zero, over `n` pairs."""

    mean: float
    low: float
    high: float
    t: float
    p: float
    n: int


def check_curves(budgets: ArrayLike, *scores: ArrayLike) -> tuple[np.ndarray, ...]:
    """Return budgets and scores as float arrays.

    Raises:
        ValueError: budgets that are not positive and ascending, scores that are not (S, K), or different S.
    """
    points = np.asarray(budgets, dtype=float)
    if points.ndim != 1 or not points.size or points[0] <= 0 or (np.diff(points) <= 0).any():
        raise ValueError(f"budgets must be positive numbers of labels in ascending order, not {points}")
    arrays = tuple(np.asarray(array, dtype=float) for array in scores)
    for array in arrays:
        if array.ndim != 2 or array.shape[1] != points.size:
            raise ValueError(f"scores of shape {array.shape} are not (seeds, {points.size}), a column a budget")
        if len(array) != len(arrays[0]):
            raise ValueError(f"{len(arrays[0])} and {len(array)} seeds are not paired: row s must be the same seed")
    return (points, *arrays)


def mean_band(scores: ArrayLike, confidence: float = 0.95) -> Band:
    """Return the mean over the seeds present at each budget, and its t-interval.

    Where seeds are missing the mean is over fewer of them, and may jump for that reason alone: `n` tells. One seed
    has a mean but no interval (NaN); no seed has neither.

    Args:
        scores: (S, K).
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: scores that are not (S, K).
    """
    rows = np.asarray(scores, dtype=float)
    if rows.ndim != 2:
        raise ValueError(f"scores of shape {rows.shape} are not (seeds, budgets)")
    columns = [_t_interval(column[~np.isnan(column)], confidence) for column in rows.T]
    mean, low, high = np.array(columns, dtype=float).reshape(-1, 3).T
    return Band(mean, low, high, (~np.isnan(rows)).sum(0))


def aubc(budgets: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Return the normalised area under the budget curve of each seed, (S,), in the unit of the scores.

    Σ_k (B_{k+1} − B_k)(m_k + m_{k+1})/2 / (B_K − B_0): the mean score over the budgets, so that a constant curve
    has its constant (Zhan et al., "A Comparative Survey of Deep Active Learning", 2022). NaN for a seed with a
    round missing, since an area over fewer budgets is another quantity, and where there is one budget only.

    Args:
        budgets: (K,) numbers of labels, ascending.
        scores: (S, K).

    Raises:
        ValueError: as `check_curves`.
    """
    points, rows = check_curves(budgets, scores)
    if points.size == 1:
        return np.full(len(rows), np.nan)
    return ((rows[:, 1:] + rows[:, :-1]) / 2) @ np.diff(points) / (points[-1] - points[0])


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Difference:
    """Return the mean of a − b over pairs, mean ± t·s/√n, and the two-sided paired t-test.

    Pairs with a NaN on either side are left out. One pair has a mean but no interval and no p (NaN). Where all
    differences are the same there is no spread to test against: if they are all zero, t = 0 and p = 1; otherwise
    t = ±inf and p = 0, the limit, which two or three seeds can reach by chance: look at `sign_flip_p` too.

    Args:
        a, b: (S,) scores at one budget, or AUBC, by seed.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: not one value of `b` for each of `a`.
    """
    ours, theirs = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if ours.ndim != 1 or ours.shape != theirs.shape:
        raise ValueError(f"values of shapes {ours.shape} and {theirs.shape} are not pairs: give (seeds,) and (seeds,)")
    differences = ours - theirs
    differences = differences[~np.isnan(differences)]
    n = differences.size
    mean, low, high = _t_interval(differences, confidence)
    if n < 2:
        return Difference(mean, low, high, np.nan, np.nan, n)
    error = _standard_error(differences)
    if error:
        t = mean / error
    else:
        t = float(np.sign(mean) * np.inf) if mean else 0.0
    return Difference(mean, low, high, t, float(2 * stats.t.sf(abs(t), n - 1)), n)


def holm(p: ArrayLike) -> np.ndarray:
    """Return p-values adjusted for making several tests (Holm, 1979): reject those below alpha.

    Keeps the chance of any false rejection at alpha, whatever the dependence between the tests. A NaN stays NaN
    and does not count as a test.

    Args:
        p: (M,) p-values of one family, such as all pairs of strategies.
    """
    values = np.asarray(p, dtype=float)
    adjusted = np.full(values.shape, np.nan)
    order = np.argsort(values)[: (~np.isnan(values)).sum()]  # NaN sorts last
    scaled = values[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted


def sign_flip_p(differences: ArrayLike) -> float:
    """Return the exact two-sided p of the sign-flip test: are the paired differences symmetric around zero?

    The share of the 2^n ways to swap the two strategies within seeds whose sum is at least as far from zero as
    the one observed (Fisher's randomization test). Assumes no normal distribution, which few seeds cannot show,
    and so cannot be smaller than `smallest_p`. O(2^n).

    Args:
        differences: (S,) a − b by seed; NaN are left out.

    Returns:
        p, NaN without any difference and beyond 20 of them, where the t-test does as well.
    """
    values = np.asarray(differences, dtype=float)
    values = values[~np.isnan(values)]
    if not 1 <= values.size <= 20:
        return float("nan")
    sums = np.zeros(1)
    for difference in values:
        sums = np.concatenate([sums + difference, sums - difference])
    # the sums of equal sets may differ by rounding, which must not break a tie
    least = abs(values.sum()) - 1e-12 * np.abs(values).sum()
    return float((np.abs(sums) >= least).mean())


def smallest_p(n: int) -> float:
    """Return the smallest p that `sign_flip_p` can reach with `n` seeds, 2/2^n: 0.0625 with 5, 0.03125 with 6."""
    return 2.0 ** (1 - n) if n > 0 else float("nan")


def penalty_matrix(scores: Mapping[str, ArrayLike], alpha: float = 0.05) -> pd.DataFrame:
    """Return how often each strategy beats each other one (Ash et al., "BADGE", 2020, section 4).

    Cell [i, j], row i and column j, is the share of budgets at which i is significantly better than j: a paired
    t-test over seeds with p < alpha and a positive mean of i − j. The first budget is left out, as all strategies
    share its labels. Large row sums are good and large column sums are bad. The p-values are not adjusted: at
    alpha = 0.05 about one budget in twenty counts by chance, half of them for each side.

    Args:
        scores: (S, K) by strategy, rows paired by seed.
        alpha: level of each test.

    Returns:
        Shares in [0, 1], strategies as rows and columns; 0 on the diagonal. A budget without two common seeds
        counts as no win; a pair without any other budget is NaN.

    Raises:
        ValueError: strategies of different shapes.
    """
    rows = {name: np.asarray(array, dtype=float) for name, array in scores.items()}
    if len({array.shape for array in rows.values()}) > 1 or any(array.ndim != 2 for array in rows.values()):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in rows.items())
        raise ValueError(f"scores must all be of one shape (seeds, budgets), not {shapes}")
    matrix = pd.DataFrame(0.0, index=list(rows), columns=list(rows))
    for i, ours in rows.items():
        for j, theirs in rows.items():
            if i != j:
                tests = [paired_difference(a, b) for a, b in zip(ours.T[1:], theirs.T[1:], strict=True)]
                wins = sum(test.p < alpha and test.mean > 0 for test in tests)
                matrix.loc[i, j] = wins / len(tests) if any(test.n > 1 for test in tests) else np.nan
    return matrix


def jaccard(a: Iterable[str], b: Iterable[str]) -> float:
    """Return the overlap of two sets of sample ids, |a ∩ b| / |a ∪ b|, in [0, 1]; NaN where both are empty."""
    first, second = set(a), set(b)
    return len(first & second) / len(first | second) if first | second else float("nan")


def _t_interval(values: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Return mean, low and high of (n,) values without NaN."""
    mean = float(values.mean()) if values.size else np.nan
    if values.size < 2:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf((1 + confidence) / 2, values.size - 1)) * _standard_error(values)
    return mean, mean - half, mean + half


def _standard_error(values: np.ndarray) -> float:
    # asked of the values themselves, since the rounding of their mean would leave a spread that is not there
    if values.min() == values.max():
        return 0.0
    return float(values.std(ddof=1) / np.sqrt(values.size))
