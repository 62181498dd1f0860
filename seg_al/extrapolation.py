"""Whether more labeling pays: a learning curve carried on, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 500
"""Curves drawn for each exponent."""


@dataclass(frozen=True)
class Forecast:
    """The score expected at some number of labels."""

    labels: float
    median: float
    low: float
    """10 % quantile."""

    high: float
    """90 % quantile."""


def extrapolate(
    labels: Sequence[float], scores: Sequence[float], noise: float, at: Sequence[float], rng: np.random.Generator
) -> list[Forecast]:
    """Carry on a learning curve by a power law ``a − b·n^(−c)``, a ≤ 1, b ≥ 0, 0 < c ≤ 2.

    Returned are quantiles over curves that fit the points, in proportion to how well (a Gaussian likelihood under flat
    priors): with two or three points many curves do, and the range says so.

    Args:
        labels, scores: the points so far, (n,) and (n,); scores in [0, 1].
        noise: standard deviation of a score, such as that of the folds of a cross-validation; at least 0.005 is taken.
        at: numbers of labels to forecast.

    Returns:
        a forecast each; empty with fewer than two different numbers of labels.
    """
    n, y, x = (np.asarray(values, float) for values in (labels, scores, at))
    if len(np.unique(n)) < 2:
        return []
    noise = max(noise, 0.005)
    # For a given c the curve a − d·(n / n_min)^(−c) is linear in a and d: their posterior is a normal distribution.
    values, weights = [], []
    for c in np.linspace(0.05, 2, 79):
        design, wanted = (np.stack([np.ones_like(m), -((m / n.min()) ** -c)], 1) for m in (n, x))
        covariance = noise**2 * np.linalg.pinv(design.T @ design)
        mean = np.linalg.lstsq(design, y, rcond=None)[0]
        draws = rng.multivariate_normal(mean, covariance, DRAWS, method="svd")
        allowed = (draws[:, 0] <= 1) & (draws[:, 1] >= 0)
        misfit = ((design @ mean - y) ** 2).sum() / noise**2
        values.append((draws @ wanted.T)[allowed])
        weights.append(np.full(int(allowed.sum()), np.sqrt(np.linalg.det(covariance)) * np.exp(-0.5 * misfit)))
    curves, weight = np.concatenate(values).clip(0, 1), np.concatenate(weights)
    if not weight.sum() > 0:  # it falls, and no curve of this form does: then it stays where it is
        curves = (y.mean() + noise * rng.standard_normal((DRAWS, 1)) * np.ones(len(x))).clip(0, 1)
        weight = np.ones(DRAWS)
    forecasts = []
    for count, column in zip(x, curves.T, strict=True):
        order = np.argsort(column)
        steps = np.cumsum(weight[order]) / weight.sum()
        places = (order[min(int(np.searchsorted(steps, q)), len(order) - 1)] for q in (0.1, 0.5, 0.9))
        low, median, high = (float(column[place]) for place in places)
        forecasts.append(Forecast(float(count), median, low, high))
    return forecasts
