"""k-means++ seeding: its distribution, the distances it reports, what it does with equal points."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare
from sklearn.cluster import kmeans_plusplus

from seg_al import UserError
from seg_al.strategies import kmeans_pp as module
from seg_al.strategies.kmeans_pp import kmeans_pp

# Point 0 is far from all others, so that a second pick makes the bounds of its neighbours very loose.
FEW = torch.tensor([[9.0, 0.0], [0.0, 0.0], [0.5, 0.3], [0.0, 1.0], [3.0, 4.0], [3.5, 4.5], [6.0, 1.0]])


@pytest.fixture(params=["lazy", "refreshing"])
def _paths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one of the two ways throughout: bounds are lowered point by point, or all at the first rejection."""
    if request.param == "lazy":
        monkeypatch.setattr(module, "BLOCK_COST", float("inf"))
    else:
        monkeypatch.setattr(module, "DRAW_COST", 1e12)
        monkeypatch.setattr(module, "ROWS", 3)


def squared_distances(points: torch.Tensor) -> np.ndarray:
    x = points.double().numpy()
    return ((x[:, None] - x[None]) ** 2).sum(-1)


def probability(picks: tuple[int, ...]) -> float:
    """The probability that k-means++ draws these points after point 0, from its definition."""
    squared, result, drawn = squared_distances(FEW), 1.0, [0]
    for pick in picks:
        nearest = squared[:, drawn].min(1)
        result *= nearest[pick] / nearest.sum()
        drawn.append(pick)
    return result


@pytest.mark.usefixtures("_paths")
def test_points_are_drawn_in_proportion_to_their_squared_distance() -> None:
    rng = np.random.default_rng(0)
    runs = 1000
    seen = Counter(tuple(kmeans_pp(FEW, 3, 0, rng)[0][1:].tolist()) for _ in range(runs))
    expected = {picks: runs * probability(picks) for picks in permutations(range(1, 7), 2)}
    assert sum(expected.values()) == pytest.approx(runs)
    often = [picks for picks in expected if expected[picks] > 5]
    counts, wanted = [seen[p] for p in often], [expected[p] for p in often]
    assert chisquare([*counts, runs - sum(counts)], [*wanted, runs - sum(wanted)]).pvalue > 0.001


def test_the_distribution_is_scikit_learns() -> None:
    runs = 600
    rng = np.random.default_rng(0)
    ours, theirs = Counter[tuple[int, ...]](), Counter[tuple[int, ...]]()
    for seed in range(runs):
        ours[tuple(sorted(kmeans_pp(FEW, 3, int(rng.integers(len(FEW))), rng)[0]))] += 1
        theirs[tuple(sorted(kmeans_plusplus(FEW.numpy(), 3, random_state=seed, n_local_trials=1)[1]))] += 1
    table = np.array([[ours[key], theirs[key]] for key in ours.keys() | theirs.keys()])
    rare = table.sum(1) < 10
    assert chi2_contingency(np.vstack([table[~rare], table[rare].sum(0) + 1])).pvalue > 0.001


@pytest.mark.usefixtures("_paths")
@pytest.mark.parametrize("spread", [1.0, 0.01], ids=["cloud", "clusters"])
def test_scores_are_squared_distances_to_the_nearest_point_drawn_before(spread: float) -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(40, 16))[rng.integers(40, size=500)] + spread * rng.normal(size=(500, 16))
    tensor = torch.tensor(points, dtype=torch.float32)
    indices, squared = kmeans_pp(tensor, 120, 3, rng)
    all_squared = squared_distances(tensor)
    expected = [all_squared[index, indices[:k]].min() for k, index in enumerate(indices) if k]
    assert indices[0] == 3 and indices.dtype == np.int64 and np.isnan(squared[0])
    assert len(set(indices.tolist())) == 120
    assert squared[1:] == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("_paths")
def test_equal_points_come_after_all_others() -> None:
    rng = np.random.default_rng(0)
    places = torch.randn(5, 30, generator=torch.Generator().manual_seed(0)) + 100  # rounding makes 0 uncertain
    order = torch.arange(20) % 5
    later = Counter[int]()
    for _ in range(60):
        indices, squared = kmeans_pp(places[order], 8, 7, rng)
        assert sorted(order[indices[:5]].tolist()) == [0, 1, 2, 3, 4]
        assert (squared[1:5] > 0).all() and squared[5:].tolist() == [0, 0, 0]
        assert len(set(indices.tolist())) == 8
        later.update(indices[5:].tolist())
    assert later.keys() == set(range(20)) - {7}  # 7 was always first; any other may be left for the end


def test_all_points_alike_or_all_asked_for() -> None:
    rng = np.random.default_rng(0)
    indices, squared = kmeans_pp(torch.ones(9, 4), 9, 4, rng)
    assert indices[0] == 4 and sorted(indices.tolist()) == list(range(9))
    assert np.isnan(squared[0]) and (squared[1:] == 0).all()
    indices, squared = kmeans_pp(FEW, 7, 2, rng)
    assert sorted(indices.tolist()) == list(range(7)) and (squared[1:] > 0).all()
    assert kmeans_pp(FEW[:1], 1, 0, rng)[0].tolist() == [0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_points_without_finite_distances_are_an_error(value: float) -> None:
    points = FEW.clone()
    points[4, 1] = value
    with pytest.raises(UserError, match="not finite"):
        kmeans_pp(points, 3, 0, np.random.default_rng(0))


class Counted(module._Distances):
    """Counts the distances measured, and the points drawn."""

    measured = drawn = 0

    def update(self, index: int) -> None:
        Counted.drawn += 1
        super().update(index)

    def _measured(self, rows: slice, since: int) -> np.ndarray:
        Counted.measured += (rows.stop - rows.start) * (self.count - since)
        return super()._measured(rows, since)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    Counted.measured = Counted.drawn = 0
    monkeypatch.setattr(module, "_Distances", Counted)
    return Counted


def clusters(spread: float) -> torch.Tensor:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(150, 32))[rng.integers(150, size=3000)] + spread * rng.normal(size=(3000, 32))
    return torch.tensor(points, dtype=torch.float32)


def test_few_distances_are_measured_where_points_scatter(
    counted: type[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAW_COST", 0)
    kmeans_pp(clusters(spread=1.0), 150, 0, np.random.default_rng(0))
    assert counted.measured < 0.3 * 3000 * 150


def test_few_draws_are_rejected_where_each_makes_many_bounds_loose(counted: type[Counted]) -> None:
    kmeans_pp(clusters(spread=1e-3), 150, 0, np.random.default_rng(0))
    assert counted.drawn < 3 * 150 and counted.measured < 2.1 * 3000 * 150


class Fixed:
    """A stream whose next number is known."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self) -> float:
        return self.number


def test_the_extremes_of_the_stream_do_not_fall_on_weights_of_0() -> None:
    for weights in ([0.0, 0.1, 0.2, 0.0], [0.3, 0.0], [0.0, 5e-324, 0.0], [0.0, 1.0, 1.0, 1.0]):
        first, *_, last = np.flatnonzero(weights).tolist() * 2
        assert module._draw(np.array(weights), Fixed(0.0)) == first  # type: ignore[arg-type]
        assert module._draw(np.array(weights), Fixed(1 - 2.0**-53)) == last  # type: ignore[arg-type]
