"""Robust k-center against exhaustive search, and against its own promises where that is out of reach."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from seg_al.strategies import robust_kcenter
from seg_al.strategies.robust_kcenter import _farthest_first, robust_k_center


def greedy(points: np.ndarray, labeled: int, budget: int) -> np.ndarray:
    """Farthest-first from the definition."""
    centers = list(range(labeled))
    for _ in range(budget):
        centers.append(int(cdist(points, points[centers]).min(1).argmax()))
    return np.array(centers[labeled:])


def radius(points: np.ndarray, labeled: int, picks: np.ndarray, left_out: int) -> float:
    """The largest distance to a center once some points are left out, from the definition."""
    nearest = cdist(points, points[[*range(labeled), *picks]]).min(1)
    return float(np.sort(nearest)[len(points) - 1 - left_out])


def solve(points: np.ndarray, labeled: int, budget: int, left_out: int, **settings: float) -> np.ndarray:
    """The answer from greedy picks, of which no solved case warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picks = greedy(points, labeled, budget)
        return robust_k_center(points, labeled, picks, outliers=left_out / len(points), **settings)


@pytest.mark.parametrize("left_out", [0, 1, 3])
@pytest.mark.parametrize("budget", [1, 2, 4])
def test_the_radius_is_that_of_an_exhaustive_search(budget: int, left_out: int) -> None:
    improved = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        labeled = 1 + seed % 3
        # points on a grid: distances tie, some points coincide
        points = rng.integers(0, 6, (12, 2)).astype(float) if seed % 2 else rng.normal(size=(12, 3))
        best = min(
            radius(points, labeled, np.array(chosen), left_out) for chosen in combinations(range(labeled, 12), budget)
        )
        found = solve(points, labeled, budget, left_out)
        assert radius(points, labeled, found, left_out) == best
        improved += best < radius(points, labeled, greedy(points, labeled, budget), left_out)
    assert improved  # where greedy is optimal in all of them, nothing was tested


@pytest.mark.parametrize("left_out", [0, 2])
def test_the_radius_is_never_above_greedys_and_often_below(left_out: int) -> None:
    below = 0
    for seed in range(5):
        points = np.random.default_rng(seed).normal(size=(120, 2))
        first, found = greedy(points, 5, 12), solve(points, 5, 12, left_out)
        assert len(set(found.tolist())) == 12 and found.min() >= 5 and found.dtype == np.int64
        assert radius(points, 5, found, left_out) <= radius(points, 5, first, left_out)
        below += radius(points, 5, found, left_out) < 0.95 * radius(points, 5, first, left_out)
    assert below >= 3


def test_an_outlier_is_left_out_where_it_may_be() -> None:
    points = np.array([[0.0], [9], [10], [11], [100]])  # the first is labeled
    assert greedy(points, 1, 1).tolist() == solve(points, 1, 1, 0).tolist() == [4]
    # the best radius, 1, is below half of greedy's, 10: with outliers that is no lower bound
    assert solve(points, 1, 1, 1).tolist() == [2]


def test_the_order_is_greedys_among_the_chosen() -> None:
    points = np.random.default_rng(3).normal(size=(80, 2))
    found = solve(points, 4, 10, 0)
    assert found.tolist() != greedy(points, 4, 10).tolist()
    for k in range(9):
        to_earlier = cdist(points[found[k:]], points[[*range(4), *found[:k]]]).min(1)
        assert to_earlier.argmax() == 0


def test_fewer_centers_than_the_budget_are_completed_by_the_farthest_points() -> None:
    points = np.array([[0.0], [1.5], [5], [9], [10]])  # the first is labeled
    assert _farthest_first(points, points[:, 0], np.array([2]), 3).tolist() == [2, 4, 1]


@pytest.mark.parametrize("budget", [1, 3, 5])
def test_nothing_left_to_cover_keeps_the_greedy_answer(budget: int) -> None:
    points = np.array([[0.0, 0]] * 6)
    picks = np.arange(1, 1 + budget)
    assert robust_k_center(points, 1, picks, outliers=0.2).tolist() == picks.tolist()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(1).normal(size=(60, 3))
    whole = solve(points, 6, 8, 1)
    monkeypatch.setattr(robust_kcenter, "BLOCK", 100)
    assert solve(points, 6, 8, 1).tolist() == whole.tolist()


def test_out_of_time_or_too_large_keeps_the_greedy_answer_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(80, 2))
    picks = greedy(points, 4, 10)
    with pytest.warns(UserWarning, match=r"time limit of 0 s ended the search; the greedy answer is kept"):
        assert robust_k_center(points, 4, picks, time_limit=0).tolist() == picks.tolist()
    monkeypatch.setattr(robust_kcenter, "MAX_PAIRS", 20)
    with pytest.warns(UserWarning, match="more than 20 pairs"):
        assert robust_k_center(points, 4, picks).tolist() == picks.tolist()


def test_out_of_time_within_the_search_keeps_the_best_answer_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(80, 2))
    picks, optimum = greedy(points, 4, 10), radius(points, 4, solve(points, 4, 10, 0), 0)
    solver, answers = robust_kcenter.milp, []

    def slow(*args: object, **kwargs: object) -> object:
        if answers and answers[-1].status == 0:  # one radius was feasible: the next is too hard
            kwargs["options"] = {"time_limit": 0.0}
        answers.append(solver(*args, **kwargs))
        return answers[-1]

    monkeypatch.setattr(robust_kcenter, "milp", slow)
    with pytest.warns(UserWarning, match=r"an answer of radius \d\.\d+ is kept, none below \d\.\d+ is possible"):
        found = robust_k_center(points, 4, picks, outliers=0)
    assert answers[-1].status == 1
    assert optimum <= radius(points, 4, found, 0) < radius(points, 4, picks, 0)
