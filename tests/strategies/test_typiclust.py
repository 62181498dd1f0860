"""TypiClust: which clusters it visits, in what order, and which image of each it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rounds import make_round
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors
from tiny import TinyScenes
from torch import Tensor

import seg_al.strategies.typiclust as module
from seg_al import UserError
from seg_al.data.views import ImageView
from seg_al.round import Round
from seg_al.strategies.base import Selection
from seg_al.strategies.features import Features
from seg_al.strategies.typiclust import TypiClust, cluster, typicality


class Given(Features):
    """Features written down in a test, by the index of the image in its data set."""

    rows: tuple[tuple[float, ...], ...]

    def extract(self, round: Round, images: ImageView) -> Tensor:
        return torch.tensor(self.rows, dtype=torch.float32)[images.indices]


def select(
    points: np.ndarray, labeled: list[int], budget: int, seed: int = 0, **settings: int
) -> tuple[Selection, list[int]]:
    """Return a selection among `points` (n, D), and the rows it is."""
    rest = [i for i in range(len(points)) if i not in labeled]
    dataset = TinyScenes(size=(32, 32), train=len(points))
    made = make_round(labeled, rest, dataset, rng=np.random.default_rng(seed))
    strategy = TypiClust(features=Given(rows=tuple(map(tuple, points.tolist()))), **settings)
    selection = strategy.select(made, budget)
    return selection, [rest[p] for p in selection.positions]


def blobs(sizes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return narrow blobs around orthogonal directions, and the blob of each point; lengths differ wildly."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    points = np.eye(len(sizes), 12)[kinds] + 0.05 * rng.normal(size=(len(kinds), 12))
    return points * rng.uniform(0.5, 20, (len(kinds), 1)), kinds


def unit(points: np.ndarray) -> np.ndarray:
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def reference(points: np.ndarray, neighbors: int = 20) -> np.ndarray:
    """Typicality by scikit-learn's neighbours, of which the first is the point itself."""
    count = min(neighbors, len(points) - 1)
    distances, _ = NearestNeighbors(n_neighbors=count + 1, algorithm="brute").fit(points).kneighbors(points)
    return 1 / (distances[:, 1:].mean(1) + 1e-5)


@pytest.mark.parametrize("block", [7, 2048])
@pytest.mark.parametrize("size, neighbors", [(50, 20), (50, 49), (12, 20), (2, 20), (21, 20)])
def test_typicality_equals_scikit_learns_neighbours(
    size: int, neighbors: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    points = np.random.default_rng(0).normal(size=(size, 5))
    assert typicality(torch.tensor(points), neighbors).numpy() == pytest.approx(reference(points, neighbors), rel=1e-9)


def test_typicality_of_copies_is_finite_and_a_single_point_has_none() -> None:
    copies = typicality(torch.tensor(np.repeat(np.random.default_rng(0).normal(size=(1, 64)), 9, 0)), 20)
    assert copies.isfinite().all() and (copies > 9e4).all()
    assert typicality(torch.ones(1, 3), 20).isnan().all()


def test_each_uncovered_blob_gives_its_most_typical_image_the_largest_first() -> None:
    points, kinds = blobs([14, 30, 9, 22, 18])
    labeled = np.flatnonzero(kinds == 1)[:2].tolist()  # the largest blob is covered
    selection, picks = select(points, labeled, 5, max_clusters=5)
    assert kinds[picks].tolist() == [3, 4, 0, 2, 1]
    for pick, score in zip(picks, selection.scores, strict=True):
        members = np.flatnonzero(kinds == kinds[pick])
        expected = reference(unit(points)[members])  # the labeled ones are neighbours too
        free = ~np.isin(members, labeled)
        assert pick == members[free][expected[free].argmax()]
        assert score == pytest.approx(expected[free].max(), rel=1e-4)


def test_neighbours_are_as_many_as_asked_for() -> None:
    points, kinds = blobs([40, 25])
    _, picks = select(points, [0], 2, max_clusters=2, neighbors=3)
    for pick in picks:
        members = np.flatnonzero((kinds == kinds[pick]) & (np.arange(65) > 0))
        everyone = np.flatnonzero(kinds == kinds[pick])
        expected = dict(zip(everyone, reference(unit(points)[everyone], 3), strict=True))
        assert pick == max(members, key=lambda i: expected[i])


def test_clusters_with_fewer_labeled_images_come_first_and_small_ones_last() -> None:
    points, kinds = blobs([4, 12, 10, 8, 5])
    labeled = [int(i) for kind, count in ((1, 2), (2, 1)) for i in np.flatnonzero(kinds == kind)[:count]]
    _, picks = select(points, labeled, 5, max_clusters=5)
    assert kinds[picks].tolist() == [3, 4, 2, 1, 0]
    _, picks = select(points, labeled, 5, max_clusters=5, min_size=4)
    assert kinds[picks].tolist() == [3, 4, 0, 2, 1]


def test_no_cluster_gives_two_before_each_gave_one_and_turns_go_on_by_typicality() -> None:
    points, kinds = blobs([14, 30, 9, 22])
    selection, picks = select(points, [0], 74, max_clusters=4)
    assert sorted(picks) == list(range(1, 75))  # all of them, once
    turns = [kinds[picks[k : k + 4]].tolist() for k in range(0, 32, 4)]
    assert turns == [[1, 3, 2, 0]] * 8  # blob 2 has 9
    for kind in range(4):
        scores = selection.scores[kinds[picks] == kind]
        assert np.all(np.diff(scores) <= 0)


def test_there_are_as_many_clusters_as_labeled_and_wanted_images() -> None:
    points, kinds = blobs([20] * 6)
    labeled = [0, 20]
    _, picks = select(points, labeled, 4)
    assert sorted(kinds[picks]) == [2, 3, 4, 5]


def test_two_picks_never_share_one_of_scikit_learns_clusters() -> None:
    points = np.random.default_rng(0).normal(size=(120, 6))
    _, picks = select(points, [0, 1, 2], 15, seed=3)
    seed = int(np.random.default_rng(3).integers(2**31))
    clusters = KMeans(18, n_init=1, random_state=seed).fit_predict(torch.tensor(unit(points)).float().numpy())
    assert len({clusters[i] for i in picks}) == 15
    covered = {clusters[i] for i in (0, 1, 2)}
    sizes = np.bincount(clusters)
    uncovered = [c for c in range(18) if c not in covered and sizes[c] >= 5]
    assert {clusters[i] for i in picks[: len(uncovered)]} == set(uncovered)
    assert np.all(np.diff(sizes[clusters[picks[: len(uncovered)]]]) <= 0)


def test_clusters_without_images_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    points, kinds = blobs([9, 9, 9])
    monkeypatch.setattr(module, "cluster", lambda *_: 2 * kinds + 1)  # 0, 2 and 4 are empty
    _, picks = select(points, np.flatnonzero(kinds == 1).tolist(), 18)  # and nothing is left of one
    assert sorted(kinds[picks[:2]]) == [0, 2] and len(set(picks)) == 18


def test_mini_batches_find_the_blobs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", 10)
    points, kinds = blobs([40, 60, 80])
    found = cluster(torch.tensor(unit(points)).float(), 3, np.random.default_rng(0))
    assert adjusted_rand_score(kinds, found) == 1


def test_the_same_stream_gives_the_same_query_and_ties_fall_by_chance() -> None:
    points = np.random.default_rng(0).normal(size=(60, 4))
    assert select(points, [0, 1], 12, seed=1)[1] == select(points, [0, 1], 12, seed=1)[1]
    same = np.ones((30, 3))
    assert len({select(same, [0], 1, seed=seed)[1][0] for seed in range(12)}) > 3


@pytest.mark.filterwarnings("error")
def test_identical_images_and_a_budget_of_the_whole_pool() -> None:
    selection, picks = select(np.ones((30, 3)), [0, 1], 28)
    assert sorted(picks) == list(range(2, 30)) and np.isfinite(selection.scores).all()
    _, picks = select(np.random.default_rng(0).normal(size=(9, 3)), [4], 8)  # as many clusters as images
    assert sorted(picks) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert select(np.zeros((5, 3)), [0], 4)[1]  # features of length 0


@pytest.mark.parametrize("settings", [{"max_clusters": 0}, {"min_size": 0}, {"neighbors": 0}])
def test_wrong_settings_are_named(settings: dict) -> None:
    with pytest.raises(UserError, match=rf"TypiClust\.{next(iter(settings))} must be at least 1, not 0"):
        TypiClust(**settings)
