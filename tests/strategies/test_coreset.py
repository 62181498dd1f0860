"""Core-set: features of which network state, positions in which pool, farthest from what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from rounds import make_round
from scipy.spatial.distance import cdist
from tiny import TinyScenes
from torch import Tensor

from seg_al.config import UserError
from seg_al.data.views import ImageView
from seg_al.round import Round
from seg_al.strategies.base import Selection
from seg_al.strategies.coreset import CoreSet
from seg_al.strategies.features import Features


class Given(Features):
    """Features written down in a test, by the index of the image in its data set."""

    rows: tuple[tuple[float, ...], ...]

    def extract(self, round: Round, images: ImageView) -> Tensor:
        return torch.tensor(self.rows, dtype=torch.float32)[images.indices]


def select(points: np.ndarray, labeled: list[int], budget: int, **settings: Any) -> tuple[Selection, list[int], Round]:
    """Return a selection among `points` (n, D), the rows it is, and the round it was made in."""
    rest = [i for i in range(len(points)) if i not in labeled]
    made = make_round(labeled, rest, TinyScenes(size=(32, 32), train=len(points)))
    selection = CoreSet(features=Given(rows=tuple(map(tuple, points.tolist()))), **settings).select(made, budget)
    return selection, [rest[p] for p in selection.positions], made


def farthest_first(points: np.ndarray, labeled: list[int], budget: int) -> tuple[list[int], list[float], float]:
    """Picks, their distances and the radius that is left, from the definition, in double precision."""
    between = cdist(points.astype(np.float64), points.astype(np.float64))
    centers, far = list(labeled), []
    for _ in range(budget):
        nearest = between[:, centers].min(1)
        far.append(float(nearest.max()))
        centers.append(int(nearest.argmax()))
    return centers[len(labeled) :], far, float(between[:, centers].min(1).max())


def test_the_query_is_far_from_the_labeled_and_from_itself() -> None:
    line = np.array([[9.0], [0.0], [10.0], [0.5], [1.0], [-5.0], [4.0]])
    selection, rows, made = select(line, labeled=[1, 4], budget=3)
    assert rows == [2, 5, 6]  # 10; then not its neighbour 9 but -5; then 4
    assert selection.positions.tolist() == [1, 3, 4] and selection.positions.dtype == np.int64
    assert selection.scores.tolist() == [9, 5, 3]
    assert made.diagnostics["coreset"]["radius"] == 1
    assert 0 < made.diagnostics["coreset"]["evaluated"]


@pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])
def test_features_are_the_task_models_as_they_are(classify: bool) -> None:
    made = make_round(list(range(5, 35, 5)), [i for i in range(40) if i % 5 or i in (0, 35)], classify=classify)
    views = (made.labeled, made.unlabeled)
    images = torch.stack([view[i] for view in views for i in range(len(view))])
    with torch.no_grad():
        points = made.model.forward_features(images / 255).mean((2, 3)).numpy()  # type: ignore[operator]
    selection = CoreSet().select(made, 10)
    picks, far, radius = farthest_first(points, list(range(6)), 10)
    assert (selection.positions + 6).tolist() == picks
    assert selection.scores == pytest.approx(far, rel=1e-4)
    assert made.diagnostics["coreset"]["radius"] == pytest.approx(radius, rel=1e-4)


def test_cosine_sees_directions_only() -> None:
    points = np.array([[1.0, 0], [100, 0], [0, 0.01], [1, 1], [-5, 0]])
    assert select(points, [0], 2)[1] == [1, 4]
    selection, rows, _ = select(points, [0], 4, cosine=True)
    assert rows == [4, 2, 3, 1]
    assert selection.scores == pytest.approx([2, 2**0.5, (2 - 2**0.5) ** 0.5, 0])


def test_the_whole_pool_may_be_asked_for() -> None:
    points = np.random.default_rng(0).normal(size=(30, 3)).round(1)
    _, rows, made = select(points, [3, 4], 28)
    assert sorted([*rows, 3, 4]) == list(range(30))
    assert made.diagnostics["coreset"]["radius"] == 0


def test_robust_lowers_the_radius_and_may_leave_an_outlier() -> None:
    line = np.array([[6.0], [0.0], [7.0], [8.0], [9.0], [10.0]])
    _, rows, made = select(line, [1], 1)
    assert rows == [5] and made.diagnostics["coreset"]["radius"] == 4
    selection, rows, made = select(line, [1], 1, robust=True)
    assert rows == [3] and selection.scores.tolist() == [8]
    assert (made.diagnostics["coreset"]["radius"], made.diagnostics["coreset"]["greedy_radius"]) == (2, 4)

    line = np.concatenate([line, [[1000.0]]])
    assert select(line, [1], 1, robust=True)[1] == [6]
    _, rows, made = select(line, [1], 1, robust=True, outliers=1 / 7)
    assert rows == [3] and made.diagnostics["coreset"]["radius"] == 2


def test_robust_scores_are_distances_when_picked() -> None:
    points = np.random.default_rng(3).normal(size=(60, 2))
    selection, rows, made = select(points, [7, 20, 31], 8, robust=True)
    greedy, _, radius = farthest_first(points.astype(np.float32), [7, 20, 31], 8)
    assert rows != greedy
    between = cdist(points.astype(np.float32), points.astype(np.float32))
    centers = [7, 20, 31, *rows]
    assert selection.scores == pytest.approx([between[r, centers[: 3 + k]].min() for k, r in enumerate(rows)])
    assert made.diagnostics["coreset"]["greedy_radius"] == pytest.approx(radius)
    assert made.diagnostics["coreset"]["radius"] == pytest.approx(between[:, centers].min(1).max())
    assert made.diagnostics["coreset"]["radius"] < radius


def test_wrong_settings_are_one_line() -> None:
    with pytest.raises(UserError, match=r"CoreSet.outliers must be .* not 1.0"):
        CoreSet(robust=True, outliers=1.0)
    with pytest.raises(UserError, match=r"CoreSet.time_limit must be above 0, not 0"):
        CoreSet(time_limit=0.0)
