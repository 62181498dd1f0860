"""Greedy k-center against a scan of all points for each pick, from the definition; and what it spares."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from seg_al.config import UserError
from seg_al.strategies import kcenter
from seg_al.strategies.kcenter import Euclidean, LazyGreedy, Metric, k_center_greedy, nearest_center


def scan(between: np.ndarray, centers: list[int], budget: int) -> tuple[list[int], list[float]]:
    """Greedy k-center from its definition, on all distances (n, n): row i is how far point i is from the others."""
    picks: list[int] = []
    distances: list[float] = []
    for _ in range(budget):
        best, farthest = -1, -math.inf
        for i in range(len(between)):
            if i not in centers and i not in picks and (near := between[i, centers + picks].min()) > farthest:
                best, farthest = i, near
        picks.append(best)
        distances.append(float(farthest))
    return picks, distances


def differences(x: np.ndarray) -> np.ndarray:
    """All Euclidean distances (n, n) in double precision, point by point."""
    x = x.astype(np.float64)
    return np.stack([np.sqrt(((a - x) ** 2).sum(1)) for a in x])


def features(kind: str, n: int = 100, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    match kind:
        case "clustered":
            x = 5 * rng.normal(size=(7, 6))[rng.integers(0, 7, n)] + 0.3 * x
        case "duplicates":
            x = x[rng.integers(0, n // 5, n)]
        case "lattice":  # many points equally far
            x = rng.integers(0, 3, (n, 3))
        case "all the same":
            x = np.full((n, 6), 0.1)
        case "far from the origin":  # where squares of float32 have lost what tells the points apart
            x = 1e4 + x
    return np.asarray(x, dtype=np.float32)


KINDS = ("random", "clustered", "duplicates", "lattice", "all the same", "far from the origin")


@pytest.fixture(params=["small blocks", "usual blocks"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "small blocks":
        for name, value in {"ROWS": 8, "CENTERS": 6, "STEP": 4}.items():
            monkeypatch.setattr(kcenter, name, value)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("labeled", "budget"), [(1, 99), (15, 20), (40, 60), (99, 1), (5, 0)])
def test_picks_are_those_of_a_full_scan(kind: str, labeled: int, budget: int) -> None:
    x = features(kind)
    centers = np.random.default_rng(1).permutation(len(x))[:labeled]
    picks, distances = k_center_greedy(Euclidean(torch.from_numpy(x)), torch.from_numpy(centers), budget)
    expected, far = scan(differences(x), centers.tolist(), budget)
    assert picks.tolist() == expected
    assert distances.tolist() == pytest.approx(far, abs=1e-12)
    assert picks.dtype == torch.int64 and distances.dtype == torch.float64


@pytest.mark.usefixtures("_blocks")
def test_any_metric_will_do() -> None:
    class Table(Metric):
        """Distances written down, not even symmetric, and many of them equal."""

        between = np.random.default_rng(0).integers(0, 40, (120, 120)) / 4.0

        def __len__(self) -> int:
            return 120

        def distances(self, rows: Tensor, centers: Tensor) -> Tensor:
            return torch.from_numpy(self.between)[rows][:, centers].float()

    picks, distances = k_center_greedy(Table(), torch.arange(30, 40), 80)
    assert (picks.tolist(), distances.tolist()) == scan(Table.between, list(range(30, 40)), 80)


@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_those_of_differences_alike_in_every_block(kind: str) -> None:
    x = features(kind)
    metric, every = Euclidean(torch.from_numpy(x)), torch.arange(len(x))
    all_pairs = metric.distances(every, every)
    assert np.allclose(all_pairs.numpy(), cdist(x.astype(np.float64), x.astype(np.float64)), rtol=1e-12, atol=0)
    assert torch.equal(all_pairs == 0, torch.from_numpy((x[:, None] == x[None]).all(2)))
    assert torch.equal(metric.distances(every[7:9], every[30:41]), all_pairs[7:9, 30:41])
    assert torch.equal(metric.nearest(every[:60], every[40:]), all_pairs[:60, 40:].amin(1))
    assert torch.equal(metric.nearest(every[30:32], every[90:]), all_pairs[30:32, 90:].amin(1))


def test_the_nearest_center_is_right_where_products_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    line = 100 * rng.normal(size=(60, 1))
    x = np.concatenate([np.repeat(1e9 * rng.normal(size=(1, 5)), 60, 0), line], 1).astype(np.float32)
    near = np.abs(x[:20, None, 5].astype(np.float64) - x[None, 20:, 5]).min(1)
    metric, every = Euclidean(torch.from_numpy(x)), torch.arange(60)
    assert metric.nearest(every[:20], every[20:]).tolist() == near.tolist()
    assert nearest_center(metric, every[:20], every[20:]).tolist() == near.tolist()


class Counting(Euclidean):
    """Counts the distances asked for and remembers the largest block."""

    def __init__(self, features: Tensor) -> None:
        super().__init__(features)
        self.evaluated, self.largest = 0, 0

    def count(self, rows: Tensor, centers: Tensor) -> None:
        self.evaluated += len(rows) * len(centers)
        self.largest = max(self.largest, len(rows) * len(centers))

    def distances(self, rows: Tensor, centers: Tensor) -> Tensor:
        self.count(rows, centers)
        return super().distances(rows, centers)

    def nearest(self, rows: Tensor, centers: Tensor) -> Tensor:
        self.count(rows, centers)
        return super().nearest(rows, centers)


@pytest.mark.parametrize(("labeled", "share"), [(1, 0.7), (400, 0.35)])
@pytest.mark.parametrize("kind", ["random", "clustered"])
def test_blocks_are_bounded_and_most_distances_spared(
    kind: str, labeled: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kcenter, "ROWS", 64)
    monkeypatch.setattr(kcenter, "CENTERS", 64)
    monkeypatch.setattr(kcenter, "STEP", 16)
    metric = Counting(torch.from_numpy(features(kind, n=4000)))
    greedy = LazyGreedy(metric, torch.arange(labeled), 200)
    greedy.run()
    assert metric.largest <= 64 * 64
    assert greedy.evaluated == metric.evaluated < share * (4000 - labeled) * (labeled + 200)


def test_more_picks_than_points_is_one_line() -> None:
    with pytest.raises(UserError, match="cannot pick 6 of 5 points"):
        k_center_greedy(Euclidean(torch.rand(8, 2)), torch.arange(3), 6)
