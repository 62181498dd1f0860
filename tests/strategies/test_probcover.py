"""ProbCover: each pick covers the most, by a brute-force graph; and δ is the largest pure radius."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from rounds import make_round
from scipy.spatial.distance import cdist
from tiny import TinyScenes
from torch import Tensor

import seg_al.strategies.probcover as module
from seg_al import UserError
from seg_al.data.views import ImageView
from seg_al.round import Round
from seg_al.strategies.base import Selection
from seg_al.strategies.features import Features
from seg_al.strategies.probcover import ProbCover, pure_radius


class Given(Features):
    """Features written down in a test, by the index of the image in its data set."""

    rows: tuple[tuple[float, ...], ...]

    def extract(self, round: Round, images: ImageView) -> Tensor:
        return torch.tensor(self.rows, dtype=torch.float32)[images.indices]


def select(
    points: np.ndarray, labeled: list[int], budget: int, seed: int = 0, **settings: Any
) -> tuple[Selection, list[int], Round]:
    """Return a selection among `points` (n, D), the rows it is, and the round it was made in."""
    rest = [i for i in range(len(points)) if i not in labeled]
    dataset = TinyScenes(size=(32, 32), train=len(points))
    made = make_round(labeled, rest, dataset, rng=np.random.default_rng(seed))
    strategy = ProbCover(features=Given(rows=tuple(map(tuple, points.tolist()))), **settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*the others are random")
        selection = strategy.select(made, budget)
    return selection, [rest[p] for p in selection.positions], made


def graph(points: np.ndarray, delta: float) -> np.ndarray:
    """Return which points (columns) are in the ball of which (rows), on features of length 1."""
    unit = points.astype(np.float32).astype(float)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    return cdist(unit, unit) < delta


def scattered(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(5, 4))[rng.integers(0, 5, n)] + 0.4 * rng.normal(size=(n, 4))) * rng.uniform(1, 9, (n, 1))


@pytest.mark.parametrize("block", [5, 2048])
@pytest.mark.parametrize("delta", [0.1, 0.4, 0.9])
def test_each_pick_covers_the_most_of_what_a_brute_force_graph_has_left(
    delta: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    points, labeled = scattered(70), [3, 40, 41]
    selection, picks, made = select(points, labeled, 20, delta=delta)
    edges = graph(points, delta)
    covered = edges[labeled].any(0)
    assert made.diagnostics["probcover"]["covered"] == pytest.approx(covered.mean())
    gains = []
    for pick, score in zip(picks, selection.scores, strict=True):
        new = edges & ~covered
        assert new[pick].sum() == new.sum(1).max() == score
        gains.append(score)
        covered |= edges[pick]
    assert gains[0] > 1 and len(set(picks)) == 20
    assert made.diagnostics["probcover"]["covered_after"] == pytest.approx(covered.mean())


def test_lengths_of_features_do_not_matter() -> None:
    points = scattered(50)
    far = points * np.random.default_rng(1).uniform(0.01, 100, (50, 1))
    assert select(points, [0], 10, delta=0.3)[1] == select(far, [0], 10, delta=0.3)[1]


def test_the_whole_pool_and_what_is_left_when_all_is_covered() -> None:
    points = scattered(40)
    selection, picks, _ = select(points, [5], 39, delta=0.4)
    assert sorted([*picks, 5]) == list(range(40))
    assert selection.scores[0] > 0 and selection.scores[-1] == 0 and np.all(np.diff(selection.scores) <= 0)
    rest = [select(points, [5], 39, seed=seed, delta=0.4)[1][-1] for seed in range(8)]
    assert len(set(rest)) > 2  # random
    made = make_round()
    with pytest.warns(UserWarning, match=r"round 1/1: balls of delta 2\.5 cover all after 0 of 4 picks; the others"):
        selection = ProbCover(delta=2.5).select(made, 4)
    assert selection.scores.tolist() == [0, 0, 0, 0] and len(set(selection.positions)) == 4


def test_identical_images_are_covered_by_one_of_them() -> None:
    for delta in (0.5, None):
        selection, picks, _ = select(np.ones((30, 3)), [0, 1], 28, delta=delta)
        assert sorted(picks) == list(range(2, 30)) and not selection.scores.any()
    pairs = np.repeat(np.eye(4), [1, 3, 5, 2], 0)  # one labeled, then 3, 5 and 2 copies
    selection, picks, _ = select(pairs, [0], 3, delta=0.1)
    assert selection.scores.tolist() == [5, 3, 2]
    assert [np.argmax(pairs[i]) for i in picks] == [2, 1, 3]
    assert select(np.zeros((5, 3)), [0], 4)[1]  # features of length 0


def test_the_same_stream_gives_the_same_query_and_ties_fall_by_chance() -> None:
    points = scattered(60)
    assert select(points, [0, 1], 12, seed=1)[1] == select(points, [0, 1], 12, seed=1)[1]
    assert len({select(np.eye(30), [0], 1, seed=seed, delta=0.5)[1][0] for seed in range(12)}) > 3


@pytest.mark.parametrize("purity", [1.0, 0.95, 0.5])
@pytest.mark.parametrize("block", [9, 2048])
def test_delta_is_the_largest_radius_of_pure_balls(purity: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    points = scattered(60)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    clusters = np.random.default_rng(0).integers(0, 3, 60) * (points[:, 0] > 0)
    delta = pure_radius(torch.tensor(points), torch.tensor(clusters), purity, np.random.default_rng(0))

    distances, others = cdist(points, points), clusters[:, None] != clusters

    def pure(radius: float) -> float:  # share of balls without a point of another cluster
        return float(np.mean(~((distances < radius) & others).any(1)))

    assert pure(delta * (1 - 1e-9)) >= purity
    larger = np.unique(distances[distances > delta + 1e-9])  # where a larger ball takes in one more point
    assert all(pure(radius * (1 + 1e-9)) < purity for radius in larger)


def test_delta_is_judged_on_a_sample_against_all_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JUDGED", 30)
    angles = np.linspace(0, np.pi, 400)
    points = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], 1))
    delta = pure_radius(points, torch.arange(400) % 2, 0.5, np.random.default_rng(0))
    assert delta == pytest.approx(float((points[0] - points[1]).norm()), rel=1e-6)  # a neighbour, sampled or not


def test_clusters_are_as_many_as_classes_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = module.cluster
    monkeypatch.setattr(module, "cluster", lambda *args: asked.append(args[1]) or original(*args))
    for classify in (False, True):
        ProbCover().select(make_round(classify=classify), 2)  # three classes
    ProbCover(classes=5).select(make_round(), 2)
    ProbCover(delta=1e-4).select(make_round(), 2)
    assert asked == [3, 3, 5]


def test_delta_follows_from_well_separated_kinds_of_images() -> None:
    rng = np.random.default_rng(0)
    points = np.eye(3, 6)[np.repeat(np.arange(3), 20)] + 0.02 * rng.normal(size=(60, 6))
    selection, picks, made = select(points, [0], 2)
    assert 1.2 < made.diagnostics["probcover"]["delta"] < 1.5  # about √2 apart
    assert selection.scores.tolist() == [20, 20] and {p // 20 for p in picks} == {1, 2}


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"delta": 0.0}, "ProbCover.delta must be above 0, not 0.0"),
        ({"delta": float("nan")}, "ProbCover.delta must be above 0, not nan"),
        ({"purity": 0.0}, "ProbCover.purity must be above 0 and at most 1"),
        ({"purity": 1.1}, "ProbCover.purity must be above 0 and at most 1"),
        ({"classes": 1}, "ProbCover.classes must be at least 2, not 1"),
    ],
)
def test_wrong_settings_are_named(settings: dict, expected: str) -> None:
    with pytest.raises(UserError) as error:
        ProbCover(**settings)
    assert expected in str(error.value) and "\n" not in str(error.value)
