"""A learning curve carried on."""

from __future__ import annotations

import numpy as np
import pytest

from seg_al.extrapolation import extrapolate


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_power_law_is_found_again() -> None:
    n = np.array([20, 40, 60, 80, 120, 160])
    y = 0.6 - 1.2 * n**-0.5
    (found,) = extrapolate(n, y, 0.005, [240], rng())
    assert found.median == pytest.approx(0.6 - 1.2 * 240**-0.5, abs=0.01)
    assert found.low < found.median < found.high < found.low + 0.04


def test_forecasts_hold_what_comes_as_often_as_they_say() -> None:
    draws, hits = np.random.default_rng(1), 0
    n = np.array([30, 60, 90, 120])
    for trial in range(60):
        a, share, c = draws.uniform(0.4, 0.8), draws.uniform(0.3, 0.8), draws.uniform(0.3, 1.2)
        curve = lambda x, a=a, b=a * share * 30**c, c=c: a - b * np.asarray(x, float) ** -c  # noqa: E731
        y = curve(n) + draws.normal(0, 0.01, 4)
        (found,) = extrapolate(n, y, 0.01, [180], np.random.default_rng(trial))
        hits += found.low <= curve(180) <= found.high
    assert 38 <= hits <= 58  # 48 expected of 60


def test_few_and_noisy_points_say_little() -> None:
    many = extrapolate([20, 40, 60, 80], [0.3, 0.36, 0.39, 0.41], 0.005, [120], rng())[0]
    few = extrapolate([20, 40], [0.3, 0.36], 0.005, [120], rng())[0]
    noisy = extrapolate([20, 40, 60, 80], [0.3, 0.36, 0.39, 0.41], 0.03, [120], rng())[0]
    assert few.high - few.low > 1.5 * (many.high - many.low)
    assert noisy.high - noisy.low > 1.5 * (many.high - many.low)


def test_a_flat_curve_promises_nothing() -> None:
    found = extrapolate([50, 100, 150, 200], [0.5, 0.501, 0.5, 0.499], 0.005, [250], rng())[0]
    assert abs(found.median - 0.5) < 0.01


def test_one_number_of_labels_is_no_curve() -> None:
    assert extrapolate([20, 20], [0.3, 0.31], 0.01, [40], rng()) == []
    assert extrapolate([20], [0.3], 0.01, [40], rng()) == []


def test_a_falling_curve_and_a_perfect_one_stay_in_range() -> None:
    for scores in ([0.5, 0.4], [0.99, 1.0], [0.0, 0.0]):
        (found,) = extrapolate([10, 20], scores, 0.01, [30], rng())
        assert 0 <= found.low <= found.median <= found.high <= 1
