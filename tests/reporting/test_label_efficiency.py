"""Labels to reach a level and savings, against hand-made crossings, scikit-learn, and a plain loop."""

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from seg_al.reporting.label_efficiency import (
    Reached,
    ReachedInterval,
    Saving,
    SavingInterval,
    bootstrap_reached,
    bootstrap_savings,
    isotonic,
    labels_to_reach,
    savings,
)

pytestmark = pytest.mark.filterwarnings("error")  # such as numpy's on a division by zero
NAN, INF = math.nan, math.inf
BUDGETS = [10, 20, 30, 50]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def reached_by_loop(budgets, curve, level: float) -> float:
    """Labels to reach with scikit-learn's fit; -inf and inf where censored."""
    fit = IsotonicRegression().fit_transform(np.arange(len(curve)), curve)
    first = next((k for k, value in enumerate(fit) if value >= level - 1e-12), None)
    if first is None:
        return INF
    return -INF if first == 0 else float(np.interp(level, fit[first - 1 : first + 1], budgets[first - 1 : first + 1]))


def reached(value: float, budgets) -> Reached:
    if value == -INF:
        return Reached(budgets[0], "<=")
    return Reached(budgets[-1], ">") if value == INF else Reached(value)


def test_isotonic_fit_is_scikit_learns() -> None:
    generator = rng()
    for length in (1, 2, 3, 7, 20):
        curves = np.round(np.linspace(0, 0.5, length) + generator.normal(0, 0.2, size=(50, length)), 1)  # ties too
        expected = [IsotonicRegression().fit_transform(np.arange(length), curve) for curve in curves]
        np.testing.assert_allclose(isotonic(curves), expected, atol=1e-12)
    falling = isotonic([0.9, 0.5, 0.1])
    assert falling == pytest.approx([0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("curve", "level", "expected"),
    [
        ([0.2, 0.4, 0.6, 0.8], 0.5, Reached(25)),
        ([0.2, 0.4, 0.6, 0.8], 0.75, Reached(45)),  # three quarters of 30..50
        ([0.2, 0.4, 0.6, 0.8], 0.4, Reached(20)),  # exactly at a point
        ([0.2, 0.4, 0.6, 0.8], 0.8, Reached(50)),  # exactly at the last one: reached, not beyond
        ([0.2, 0.4, 0.6, 0.8], 0.81, Reached(50, ">")),
        ([0.2, 0.4, 0.6, 0.8], 0.2, Reached(10, "<=")),
        ([0.2, 0.4, 0.6, 0.8], 0.1, Reached(10, "<=")),
        ([0.2, 0.6, 0.4, 0.8], 0.6, Reached(30 + 20 / 3)),  # fit 0.2, 0.5, 0.5, 0.8: a peak alone does not count
        ([0.2, 0.6, 0.4, 0.8], 0.5, Reached(20)),
        ([0.5, 0.3, 0.6, 0.8], 0.45, Reached(22.5)),  # fit 0.4, 0.4, 0.6, 0.8: nor does a lucky start
        ([0.2, 0.5, 0.5, 0.5], 0.5, Reached(20)),  # the first point of a plateau
        ([0.8, 0.6, 0.4, 0.2], 0.6, Reached(50, ">")),  # fit 0.5 throughout
        ([0.7, 0.7, 0.7, 0.7], 0.7, Reached(10, "<=")),  # whose pooled mean may be 0.6999999999999998
        ([0.7, 0.7, 0.7, 0.7], 0.7 + 1e-9, Reached(50, ">")),
    ],
)
def test_labels_to_reach_by_hand(curve: list[float], level: float, expected: Reached) -> None:
    found = labels_to_reach(BUDGETS, curve, level)
    assert found.labels == pytest.approx(expected.labels) and found.censored == expected.censored


def test_a_flat_curve_exactly_at_the_level_is_reached_despite_rounding() -> None:
    for count in range(1, 40):
        for value in (0.1, 0.7, 0.9 * 0.77):
            found = labels_to_reach(np.arange(1, count + 1), np.full(count, value), value)
            assert found == Reached(1, "<=")
    # the value that falls below the level by rounding is at its own budget, not past it
    assert labels_to_reach([10, 20, 30], [0.2, 0.1 * 3 - 2e-16, 0.9], 0.1 * 3).labels <= 20


def test_budgets_that_were_not_measured_are_left_out() -> None:
    assert labels_to_reach(BUDGETS, [0.2, NAN, 0.6, NAN], 0.5) == Reached(25)  # on the line from 10 to 30
    assert labels_to_reach(BUDGETS, [NAN, 0.4, 0.6, NAN], 0.7) == Reached(30, ">")
    assert labels_to_reach(BUDGETS, [NAN, 0.4, 0.6, NAN], 0.3) == Reached(20, "<=")
    assert labels_to_reach([10], [0.5], 0.4) == Reached(10, "<=")
    assert labels_to_reach([10], [0.5], 0.6) == Reached(10, ">")
    assert str(labels_to_reach(BUDGETS, [NAN] * 4, 0.3)) == str(labels_to_reach(BUDGETS, [0.2] * 4, NAN)) == "n/a"


def test_curves_that_do_not_fit_the_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(seeds, 4\)"):
        labels_to_reach(BUDGETS, [0.1, 0.2, 0.3], 0.2)
    with pytest.raises(ValueError, match="ascending"):
        labels_to_reach([10, 30, 20], [0.1, 0.2, 0.3], 0.2)
    with pytest.raises(ValueError, match="3 and 2 seeds are not paired"):
        bootstrap_savings([10, 20], np.zeros((3, 2)), np.zeros((2, 2)), 0.5, rng())


BELOW, ABOVE = Reached(10, "<="), Reached(50, ">")


@pytest.mark.parametrize(
    ("own", "random", "expected", "text"),
    [
        (Reached(20), Reached(40), Saving(0.5), "50 %"),
        (Reached(40), Reached(20), Saving(-1), "-100 %"),
        (BELOW, Reached(40), Saving(0.75, ">="), "≥ 75 %"),
        (Reached(20), ABOVE, Saving(0.6, ">="), "≥ 60 %"),
        (BELOW, ABOVE, Saving(0.8, ">="), "≥ 80 %"),
        (ABOVE, Reached(40), Saving(-0.25, "<="), "≤ -25 %"),
        (Reached(20), BELOW, Saving(-1, "<="), "≤ -100 %"),
        (ABOVE, BELOW, Saving(-4, "<="), "≤ -400 %"),
        (BELOW, BELOW, Saving(NAN, "undefined"), "undefined"),
        (ABOVE, ABOVE, Saving(NAN, "undefined"), "undefined"),
        (Reached(NAN), Reached(20), Saving(NAN, "undefined"), "undefined"),
        (ABOVE, Reached(NAN), Saving(NAN, "undefined"), "undefined"),
    ],
)
def test_savings_and_their_bounds(own: Reached, random: Reached, expected: Saving, text: str) -> None:
    found = savings(own, random)
    assert found.value == pytest.approx(expected.value, nan_ok=True) and found.bound == expected.bound
    assert str(found) == text
    # no numbers of labels that the two may stand for break the bound, and some come close to it
    true = [1 - a / b for a in possible(own) for b in possible(random)]
    if expected.bound == ">=":
        assert min(true) == pytest.approx(expected.value, rel=1e-3) and min(true) >= expected.value - 1e-12
    elif expected.bound == "<=":
        assert max(true) == pytest.approx(expected.value, rel=1e-3) and max(true) <= expected.value + 1e-12
    elif not math.isnan(own.labels + random.labels) and expected.bound == "undefined":
        assert min(true) < -1e3 and max(true) > 0.99  # anything


def possible(one: Reached) -> np.ndarray:
    times = np.geomspace(1, 1e5, 200) if one.censored == ">" else np.geomspace(1e-5, 1, 200)
    return one.labels * times if one.censored else np.array([one.labels])


def test_texts() -> None:
    below, above = Reached(37, "<="), Reached(185, ">")
    assert [str(one) for one in (Reached(96.6), below, above, Reached(NAN))] == ["97", "≤ 37", "> 185", "n/a"]
    assert str(Saving(-0.001)) == "0 %"
    assert str(ReachedInterval(Reached(97), Reached(80), above, 6)) == "97 [80, > 185]"
    assert str(ReachedInterval(Reached(97), Reached(NAN), Reached(NAN), 1)) == "97 [n/a]"
    assert str(SavingInterval(Saving(0.48), 0.35, INF, 6)) == "48 % [35 %, open]"
    assert str(SavingInterval(Saving(0.48), -INF, 0.5, 6)) == "48 % [open, 50 %]"
    assert str(SavingInterval(Saving(0.5, ">="), NAN, NAN, 1)) == "≥ 50 % [n/a]"


def study(seeds: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    trend = np.array([0.3, 0.4, 0.48, 0.55])
    shared = generator.normal(0, 0.05, size=(seeds, 1))
    own, random = (trend + shared + generator.normal(gain, 0.03, size=(seeds, 4)) for gain in (0.02, 0))
    return own, random


@pytest.mark.parametrize(
    "level", [0.33, 0.45, 0.54]
)  # at the first budget, amid, and beyond the last in some resamples
@pytest.mark.parametrize("confidence", [0.95, 0.6])
def test_bootstrap_is_a_loop_over_resamples(level: float, confidence: float) -> None:
    own, random = study(8, rng())
    resamples = 149
    counts = np.random.default_rng(7).multinomial(8, [1 / 8] * 8, size=resamples)
    labels, lows, highs = [], [], []
    for count in counts:
        rows = [seed for seed, times in enumerate(count) for _ in range(times)]
        both = [reached_by_loop(BUDGETS, scores[rows].mean(0), level) for scores in (own, random)]
        saving = savings(*(reached(value, BUDGETS) for value in both))
        labels.append(both[0])
        lows.append(saving.value if saving.bound in ("", ">=") else -INF)
        highs.append(saving.value if saving.bound in ("", "<=") else INF)
    outside = math.floor((1 - confidence) / 2 * (resamples - 1))

    found = bootstrap_reached(BUDGETS, own, level, np.random.default_rng(7), resamples, confidence)
    expected = [reached(sorted(labels)[index], BUDGETS) for index in (outside, -1 - outside)]
    for end, right in zip((found.low, found.high), expected, strict=True):
        assert end.labels == pytest.approx(right.labels) and end.censored == right.censored
    both = [labels_to_reach(BUDGETS, scores.mean(0), level) for scores in (own, random)]
    assert found.estimate.labels == pytest.approx(both[0].labels) and found.n == 8

    saved = bootstrap_savings(BUDGETS, own, random, level, np.random.default_rng(7), resamples, confidence)
    assert (saved.low, saved.high) == pytest.approx((sorted(lows)[outside], sorted(highs)[-1 - outside]))
    assert saved.estimate.value == pytest.approx(savings(*both).value) and saved.n == 8


def test_an_end_beyond_the_budgets_is_a_bound() -> None:
    # a quarter of the resamples has the first seed alone, which ends at 0.3, a quarter the second, and half both
    scores = [[0.1, 0.2, 0.3], [0.1, 0.4, 0.7]]
    found = bootstrap_reached([10, 20, 30], scores, 0.44, rng())
    assert str(found) == "27 [21, > 30]"  # 20 + 0.14 / 0.2 * 10, 20 + 0.04 / 0.3 * 10
    found = bootstrap_reached([10, 20, 30], [[0.5, 0.5, 0.6], [0.1, 0.2, 0.3]], 0.4, rng())
    assert (str(found.low), str(found.high)) == ("≤ 10", "> 30")
    # narrower than the quarters, both ends are the estimate
    assert str(bootstrap_reached([10, 20, 30], scores, 0.44, rng(), confidence=0.4)) == "27 [27, 27]"
    random = [[0.1, 0.3, 0.6], [0.1, 0.3, 0.6]]  # 20 + 14 / 3 labels in every resample
    saved = bootstrap_savings([10, 20, 30], scores, random, 0.44, rng())
    assert saved.estimate.value == pytest.approx(1 - 27 / (20 + 14 / 3)) and saved.low == -INF
    assert saved.high == pytest.approx(1 - (20 + 4 / 3) / (20 + 14 / 3))
    saved = bootstrap_savings([10, 20, 30], random, scores, 0.44, rng())
    assert saved.low == pytest.approx(1 - (20 + 14 / 3) / (20 + 4 / 3)) and saved.high == INF


def test_both_strategies_are_resampled_together() -> None:
    own, _ = study(6, rng())
    assert bootstrap_savings(BUDGETS, own, own, 0.45, rng()) == SavingInterval(Saving(0.0), 0.0, 0.0, 6)


def test_only_seeds_that_are_complete_count() -> None:
    own, random = study(6, rng())
    holes = own.copy()
    holes[1, 2:], holes[4] = NAN, NAN
    kept = [0, 2, 3, 5]
    assert bootstrap_reached(BUDGETS, holes, 0.45, rng()) == bootstrap_reached(BUDGETS, own[kept], 0.45, rng())
    found = bootstrap_savings(BUDGETS, holes, random, 0.45, rng())
    assert found.n == 4 and found == bootstrap_savings(BUDGETS, own[kept], random[kept], 0.45, rng())
    assert bootstrap_savings(BUDGETS, own, np.where(np.isnan(holes), NAN, random), 0.45, rng()).n == 4


def test_budgets_that_no_seed_has_reached_are_no_hole() -> None:
    own, random = study(6, rng())
    behind = np.where(np.arange(4) < 3, random, NAN)
    found = bootstrap_reached(BUDGETS, behind, 0.53, rng())
    assert found.n == 6 and found.estimate == found.high == Reached(30, ">")
    saved = bootstrap_savings(BUDGETS, own, behind, 0.53, rng())
    own_labels = labels_to_reach(BUDGETS, own.mean(0), 0.53).labels
    assert saved.n == 6 and saved.estimate == Saving(pytest.approx(1 - own_labels / 30), ">=") and saved.high == INF


def test_one_seed_has_an_estimate_but_no_interval() -> None:
    found = bootstrap_reached(BUDGETS, [[0.2, 0.44, 0.6, 0.8]], 0.5, rng())
    assert str(found) == "24 [n/a]" and found.n == 1
    saved = bootstrap_savings(BUDGETS, [[0.2, 0.44, 0.6, 0.8]], [[0.2, 0.3, 0.4, 0.6]], 0.5, rng())
    assert str(saved) == "41 % [n/a]" and saved.n == 1  # 1 - 23.75 / 40


def test_without_seeds_or_level_nothing_is_claimed() -> None:
    own, random = study(3, rng())
    nothing = np.full((3, 4), NAN)
    for found in (bootstrap_reached(BUDGETS, nothing, 0.5, rng()), bootstrap_reached(BUDGETS, own, NAN, rng())):
        assert str(found) == "n/a [n/a]"
    for scores, level in ((nothing, 0.5), (own, NAN), (nothing[:0], 0.5)):
        saved = bootstrap_savings(BUDGETS, scores, random[: len(scores)], level, rng())
        assert saved.estimate.bound == "undefined" and math.isnan(saved.low) and math.isnan(saved.high)
    assert bootstrap_reached(BUDGETS, nothing, 0.5, rng()).n == 0


def test_the_generator_decides_the_interval() -> None:
    own, random = study(5, rng())
    generator = rng()
    first, second = (bootstrap_savings(BUDGETS, own, random, 0.45, generator, resamples=50) for _ in range(2))
    assert first == bootstrap_savings(BUDGETS, own, random, 0.45, rng(), resamples=50)
    assert (first.low, first.high) != (second.low, second.high)
