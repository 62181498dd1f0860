"""Predicted labeling cost, against scipy and by hand; the knapsack, against exhaustive search."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from torch import Tensor

from seg_al import UserError
from seg_al.strategies import labeling_cost
from seg_al.strategies.labeling_cost import LabelingCost, boundary_length, component_count, knapsack


def certain(mask: np.ndarray, classes: int = 4) -> Tensor:
    """Return probabilities (B, C, h, w) of which each pixel's class is the one in `mask` (B, h, w)."""
    probabilities = torch.full((len(mask), classes, *mask.shape[1:]), 0.5 / (classes - 1))
    return probabilities.scatter(1, torch.as_tensor(mask)[:, None], 0.5)


SQUARE = np.zeros((1, 4, 4), np.int64)  # one of 2x2 pixels amid a background: 8 sides of pixels around it
SQUARE[0, 1:3, 1:3] = 3


def test_cost_of_a_square_by_hand() -> None:
    assert LabelingCost()(certain(SQUARE)).tolist() == [8 / 4 + 2]
    assert LabelingCost(boundary=0.5, component=3.0)(certain(SQUARE)).tolist() == [0.5 * 8 / 4 + 3 * 2]


def test_cost_of_two_halves_of_an_oblong_by_hand() -> None:
    halves = np.zeros((1, 2, 8), np.int64)
    halves[:, :, 4:] = 1  # a boundary of 2 sides of pixels, in an image as large as one of 4x4
    assert LabelingCost()(certain(halves)).tolist() == [2 / 4 + 2]


def test_cost_does_not_depend_on_resolution() -> None:
    fine = SQUARE.repeat(3, axis=1).repeat(3, axis=2)
    assert LabelingCost()(certain(fine)).tolist() == LabelingCost()(certain(SQUARE)).tolist()


def test_an_image_of_one_class_has_one_component_and_no_boundary() -> None:
    assert LabelingCost()(certain(np.full((2, 5, 7), 3))).tolist() == [1.0, 1.0]


def test_boundaries_and_components_are_scipys() -> None:
    masks = np.random.default_rng(0).integers(0, 4, (6, 9, 12))
    masks[1] = ndimage.zoom(masks[1, :3, :4], 3, order=0)  # larger areas
    lengths = [sum(np.count_nonzero(np.diff(mask, axis=axis)) for axis in (0, 1)) for mask in masks]
    counts = [sum(ndimage.label(mask == c, np.ones((3, 3)))[1] for c in range(4)) for mask in masks]
    assert boundary_length(torch.tensor(masks)).tolist() == lengths
    assert component_count(torch.tensor(masks)).tolist() == counts


def test_whole_images_cost_one_each() -> None:
    assert LabelingCost(component=7.0)(torch.rand(3, 5)).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("boundary", "component"), [(-1.0, 1.0), (1.0, -0.5), (0.0, 0.0)])
def test_costs_that_make_no_sense_are_refused(boundary: float, component: float) -> None:
    with pytest.raises(UserError, match="must not be negative, nor both 0"):
        LabelingCost(boundary=boundary, component=component)


def solve(scores: np.ndarray, costs: np.ndarray, count: int, limit: float, seed: int = 0) -> np.ndarray:
    """Return the knapsack's items, after checking what holds for each answer; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = knapsack(scores, costs, count, limit, np.random.default_rng(seed))
    assert len(chosen) == len(set(chosen.tolist())) == count
    assert costs[chosen].sum() <= limit * (1 + 1e-6)
    assert (np.diff(scores[chosen]) <= 0).all()
    return chosen


def exhaustive(scores: np.ndarray, costs: np.ndarray, count: int, limit: float) -> float:
    """Return the highest total score of `count` items within the limit, from all of them."""
    queries = np.array(list(combinations(range(len(scores)), count)))
    affordable = costs[queries].sum(1) <= limit * (1 + 1e-9)
    return scores[queries[affordable]].sum(1).max()


@pytest.mark.parametrize("core", [3, 64])
@pytest.mark.parametrize("seed", range(12))
def test_the_best_query_within_a_limit_is_that_of_exhaustive_search(
    seed: int, core: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labeling_cost, "SMALLEST_CORE", core)  # the integer program sees a part, or all
    monkeypatch.setattr(labeling_cost, "NEGLIGIBLE", 0.0)
    rng = np.random.default_rng(seed)
    scores = rng.random(14)
    costs = rng.gamma(2, 10, 14) * (1 + 3 * scores) if seed % 2 else rng.integers(1, 30, 14).astype(float)
    count = 2 + seed % 5
    cheapest = np.sort(costs)[:count].sum()
    dearest = costs[np.argsort(-scores)[:count]].sum()
    for limit in (cheapest, (2 * cheapest + dearest) / 3, (cheapest + 2 * dearest) / 3, dearest * 0.999, 1e9):
        if limit >= cheapest:
            chosen = solve(scores, costs, count, limit)
            assert scores[chosen].sum() == pytest.approx(exhaustive(scores, costs, count, limit), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_large_pool_is_solved_as_by_one_integer_program(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labeling_cost, "SMALLEST_CORE", 8)
    monkeypatch.setattr(labeling_cost, "NEGLIGIBLE", 0.0)
    rng = np.random.default_rng(seed)
    scores = rng.random(400)
    costs = rng.gamma(2, 10, 400) * (1 + scores)
    limit = 0.9 * 40 * costs.mean()
    program = milp(
        -scores,
        constraints=LinearConstraint(np.stack([np.ones(400), costs]), [40, -np.inf], [40, limit]),
        integrality=np.ones(400),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    assert scores[solve(scores, costs, 40, limit)].sum() == pytest.approx(-program.fun, abs=1e-6)


def test_a_core_that_is_too_small_at_first_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def watched(scores: np.ndarray, *rest: object) -> tuple[np.ndarray, bool]:
        sizes.append(len(scores))
        return original(scores, *rest)  # type: ignore[arg-type]

    original = labeling_cost._integer_program
    monkeypatch.setattr(labeling_cost, "_integer_program", watched)
    monkeypatch.setattr(labeling_cost, "SMALLEST_CORE", 4)
    rng = np.random.default_rng(0)
    scores = rng.random(200)
    costs = rng.integers(1, 30, 200) * (1 + scores)
    solve(scores, costs, 20, 20 * costs.mean() * 0.5)
    assert sizes[0] == 4 < sizes[-1] < 200 and sizes == sorted(sizes)


def test_without_the_integer_program_the_query_is_affordable_and_a_warning_says_what_it_misses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(labeling_cost, "_integer_program", lambda scores, *_: (np.zeros(len(scores), bool), False))
    rng = np.random.default_rng(3)
    scores, costs = rng.random(14), rng.gamma(2, 10, 14)
    limit = 4 * costs.mean() * 0.6
    with pytest.warns(UserWarning, match="total score may be (.*) of it below the best") as told:
        chosen = knapsack(scores, costs, 4, limit, rng)
    assert len(set(chosen.tolist())) == 4 and costs[chosen].sum() <= limit
    relaxed = linprog(-scores, A_ub=costs[None], b_ub=limit, A_eq=np.ones((1, 14)), b_eq=4, bounds=(0, 1))
    share = float(str(told[0].message).split("may be ")[1].split()[0])
    assert share == pytest.approx(1 - scores[chosen].sum() / -relaxed.fun, rel=0.06)  # it is told to two digits


def test_equal_costs_leave_the_highest_scores() -> None:
    scores = np.random.default_rng(0).random(30)
    chosen = solve(scores, np.full(30, 0.1), 3, 0.3)  # as floats, 0.1 + 0.1 + 0.1 is more than 0.3
    assert chosen.tolist() == np.argsort(-scores)[:3].tolist()


def test_equal_scores_leave_affordable_items_and_chance() -> None:
    costs = np.repeat([1.0, 5.0], 20)
    queries = [solve(np.ones(40), costs, 6, 6.0, seed) for seed in range(5)]
    assert all((query < 20).all() for query in queries)
    assert len({tuple(sorted(query.tolist())) for query in queries}) > 1


def test_nothing_costs_anything() -> None:
    scores = np.random.default_rng(0).random(9)
    assert solve(scores, np.zeros(9), 3, 0.0).tolist() == np.argsort(-scores)[:3].tolist()


def test_all_items_and_a_limit_that_nothing_meets() -> None:
    scores, costs = np.array([1.0, 3.0, 2.0]), np.array([5.0, 1.0, 9.0])
    assert solve(scores, costs, 3, 15.0).tolist() == [1, 2, 0]
    for count in (2, 3):
        with pytest.raises(ValueError, match="items cost"):
            knapsack(scores, costs, count, 4.0, np.random.default_rng(0))
