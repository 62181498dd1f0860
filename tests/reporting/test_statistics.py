"""Statistics of a study, against scipy, counting by hand, and brute force from the definition."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid
from statsmodels.stats.multitest import multipletests

from seg_al.reporting.statistics import (
    aubc,
    holm,
    jaccard,
    mean_band,
    paired_difference,
    penalty_matrix,
    sign_flip_p,
    smallest_p,
)

pytestmark = pytest.mark.filterwarnings("error")  # such as numpy's on the mean of nothing
NAN = math.nan


def test_band_is_the_t_interval_of_the_seeds_present() -> None:
    scores = np.random.default_rng(0).uniform(size=(6, 5))
    scores[2:, 1] = NAN
    scores[1:, 2] = NAN
    scores[:, 3] = NAN
    scores[3, 4] = NAN
    band = mean_band(scores, confidence=0.9)
    assert band.n.tolist() == [6, 2, 1, 0, 5]
    for k in (0, 1, 4):
        present = scores[~np.isnan(scores[:, k]), k]
        interval = stats.ttest_1samp(present, 0).confidence_interval(0.9)
        assert (band.mean[k], band.low[k], band.high[k]) == pytest.approx((present.mean(), *interval), abs=1e-12)
    assert band.mean[2] == scores[0, 2] and np.isnan([band.low[2], band.high[2], band.mean[3], band.low[3]]).all()


def test_band_of_no_seeds() -> None:
    assert mean_band(np.empty((0, 2))).n.tolist() == [0, 0] and np.isnan(mean_band(np.empty((0, 2))).mean).all()
    with pytest.raises(ValueError, match="not"):
        mean_band([0.1, 0.2])


def test_aubc_by_hand() -> None:
    # trapezoids (0.2 + 0.4) / 2 * 10 and (0.4 + 0.8) / 2 * 30, over the 40 labels between
    assert aubc([10, 20, 50], [[0.2, 0.4, 0.8], [0.3, 0.3, 0.3]]) == pytest.approx([21 / 40, 0.3])


def test_aubc_is_the_area_over_the_budgets() -> None:
    rng = np.random.default_rng(1)
    budgets, scores = np.cumsum(rng.integers(1, 50, size=9)), rng.uniform(size=(4, 9))
    area = trapezoid(scores, budgets, axis=1) / (budgets[-1] - budgets[0])
    assert aubc(budgets, scores) == pytest.approx(area, rel=1e-12)


def test_aubc_of_an_unfinished_run_is_not_a_number() -> None:
    values = aubc([10, 20, 30], [[0.1, NAN, 0.3], [0.1, 0.2, NAN], [0.2, 0.2, 0.2]])
    assert np.isnan(values).tolist() == [True, True, False]
    assert np.isnan(aubc([10], [[0.5]]))


@pytest.mark.parametrize(
    ("budgets", "scores"),
    [([10, 20], [[0.1, 0.2, 0.3]]), ([20, 10], [[0.1, 0.2]]), ([10, 10], [[0.1, 0.2]]), ([0, 1], [[0.1, 0.2]]),
     ([], [[]]), ([10, 20], [0.1, 0.2])],
)  # fmt: skip
def test_scores_that_do_not_fit_the_budgets_are_refused(budgets: list, scores: list) -> None:
    with pytest.raises(ValueError, match=r"budgets must be|are not \(seeds"):
        aubc(budgets, scores)


@pytest.mark.parametrize("n", [2, 3, 6, 12])
def test_paired_difference_is_the_paired_t_test(n: int) -> None:
    rng = np.random.default_rng(n)
    a = rng.uniform(size=n)
    b = a + rng.normal(0.05, 0.1, size=n)
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.9)
    found = paired_difference(a, b, confidence=0.9)
    assert found[:5] == pytest.approx(((a - b).mean(), *interval, expected.statistic, expected.pvalue), rel=1e-9)
    assert found.n == n
    # a seed that is missing on either side is no pair
    missing = paired_difference([NAN, *a, 0.5, NAN], [0.3, *b, NAN, NAN], confidence=0.9)
    assert missing == pytest.approx(found, rel=1e-12)


def test_paired_difference_of_one_pair_and_of_none() -> None:
    one = paired_difference([0.7, NAN], [0.5, 0.5])
    assert one.mean == pytest.approx(0.2) and one.n == 1 and np.isnan([one.low, one.high, one.t, one.p]).all()
    none = paired_difference([NAN], [0.5])
    assert none.n == 0 and np.isnan(none[:5]).all()


def test_paired_difference_without_spread() -> None:
    same = paired_difference([0.1, 0.7, 0.3], [0.1, 0.7, 0.3])
    assert same == (0, 0, 0, 0, 1, 3)
    # 0.1 three times has a mean of 0.10000000000000002
    shifted = paired_difference([0.1, 0.1, 0.1], [0, 0, 0])
    assert shifted.t == math.inf and shifted.p == 0 and shifted.low == shifted.high == pytest.approx(0.1)
    assert paired_difference([0, 0], [0.5, 0.5]).t == -math.inf


def test_values_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="not pairs"):
        paired_difference([0.1, 0.2, 0.3], [0.1])


def test_holm_by_hand() -> None:
    # 4 * 0.01; 3 * 0.02; 2 * 0.03 = 0.06; 1 * 0.04, but no smaller than the one before
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert holm([]).shape == (0,)


def test_holm_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(1)
    for count in (1, 2, 9, 40):
        p = rng.random(count) ** 3
        p[rng.integers(0, count, count // 4)] = 0.01  # ties
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)


def test_holm_is_the_closure_of_bonferroni() -> None:
    rng = np.random.default_rng(2)
    for m in (1, 2, 5, 8):
        p = rng.uniform(size=m) ** 3
        p[-1] = p[0]  # a tie
        subsets = [set(some) for size in range(1, m + 1) for some in itertools.combinations(range(m), size)]
        expected = [max(min(1, len(some) * min(p[j] for j in some)) for some in subsets if i in some) for i in range(m)]
        assert holm(p) == pytest.approx(expected, rel=1e-12)


def test_holm_does_not_count_what_was_not_tested() -> None:
    adjusted = holm([NAN, 0.02, NAN, 0.03])
    assert np.isnan(adjusted).tolist() == [True, False, True, False]
    assert adjusted[[1, 3]] == pytest.approx([0.04, 0.04])


@pytest.mark.parametrize("n", [2, 4, 7, 10])
def test_sign_flip_is_scipys_permutation_test(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.5, 1, size=n)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=math.inf, vectorized=True
    )
    assert sign_flip_p([*differences, NAN]) == pytest.approx(expected.pvalue, rel=1e-12)


@pytest.mark.parametrize("tenths", [(3, -1, -2), (1, 2, -3, 4), (6, 1, -7, 0, 2), (0, 0), (1, 1, 1, 1, 1, 1)])
def test_sign_flip_counts_ties_despite_rounding(tenths: tuple[int, ...]) -> None:
    sums = [abs(sum(sign * x for sign, x in zip(signs, tenths, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(tenths))]  # fmt: skip
    expected = sum(other >= abs(sum(tenths)) for other in sums) / len(sums)
    assert sign_flip_p(np.array(tenths) * 0.1) == expected


def test_the_smallest_p_of_few_seeds() -> None:
    for n in range(1, 11):
        assert smallest_p(n) == sign_flip_p(np.arange(1, n + 1) / 10)
    assert smallest_p(5) > 0.05 > smallest_p(6)
    assert math.isnan(smallest_p(0)) and math.isnan(sign_flip_p([])) and math.isnan(sign_flip_p(np.ones(21)))


def test_penalty_matrix_counts_significant_wins() -> None:
    rng = np.random.default_rng(3)
    scores = {name: rng.normal(mean, 0.1, size=(6, 9)) for name, mean in (("a", 0.5), ("b", 0.6), ("c", 0.55))}
    scores["a"][0, 3], scores["c"][:, 5] = NAN, NAN
    matrix = penalty_matrix(scores, alpha=0.1)
    for i, j in itertools.permutations(scores, 2):
        wins = 0
        for k in range(1, 9):
            pairs = ~np.isnan(scores[i][:, k] - scores[j][:, k])
            if pairs.sum() > 1:
                test = stats.ttest_rel(scores[i][pairs, k], scores[j][pairs, k])
                wins += test.pvalue < 0.1 and test.statistic > 0
        assert matrix.loc[i, j] == pytest.approx(wins / 8)
    assert np.diag(matrix).tolist() == [0, 0, 0] and (matrix.to_numpy() > 0).sum() > 1
    assert 0 < penalty_matrix(scores, alpha=0.01).to_numpy().sum() < matrix.to_numpy().sum()


def test_penalty_matrix_has_the_winner_in_the_row_and_leaves_the_first_budget_out() -> None:
    noise = np.array([[0.0], [0.01], [0.02]])
    good, bad = np.array([0.1, 0.6, 0.7, 0.8]) + noise, np.array([0.9, 0.5, 0.7, 0.7]) - noise[::-1] / 2
    bad[:, 2] = good[[1, 2, 0], 2]  # better on some seeds, worse on others
    matrix = penalty_matrix({"good": good, "bad": bad})
    assert matrix.loc["good", "bad"] == pytest.approx(2 / 3) and matrix.loc["bad", "good"] == 0


def test_penalty_of_a_pair_without_common_seeds_is_not_a_number() -> None:
    a = np.array([[0.1, 0.2], [0.1, 0.3], [NAN, NAN]])
    b = np.array([[0.1, 0.2], [NAN, NAN], [0.1, 0.4]])
    matrix = penalty_matrix({"a": a, "b": b})
    assert np.isnan(matrix.loc["a", "b"]) and np.isnan(matrix.loc["b", "a"]) and matrix.loc["a", "a"] == 0
    with pytest.raises(ValueError, match=r"a \(3, 2\), b \(2, 2\)"):
        penalty_matrix({"a": a, "b": b[:2]})


def test_jaccard_of_queries() -> None:
    assert jaccard(["x", "y", "z"], ["y", "z", "w"]) == 0.5
    assert jaccard(iter("ab"), iter("ab")) == 1 and jaccard("ab", "cd") == 0
    assert math.isnan(jaccard([], []))
