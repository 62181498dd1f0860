"""CDAL: contexts against a loop over pixels, distances against scipy, the query against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from rounds import make_round
from scipy.stats import entropy
from tiny import Squares
from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.strategies.cdal import CDAL, NO_COMMON_CLASS, SMOOTHING, ContextualDiversity, contexts


def predictions(*shape: int, seed: int = 0, concentration: float = 0.3) -> np.ndarray:
    """Random probabilities, classes on the second axis."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(shape[1], concentration), (shape[0], *shape[2:]))
    return np.moveaxis(p, -1, 1).astype(np.float32)


def contexts_by_pixel(p: np.ndarray) -> dict[int, np.ndarray]:
    """P_c of each class predicted in an image (C, h, w), pixel by pixel."""
    sums: dict[int, np.ndarray] = {}
    totals: dict[int, float] = {}
    for y in range(p.shape[1]):
        for x in range(p.shape[2]):
            pixel = p[:, y, x].astype(np.float64)
            c, h = int(pixel.argmax()), float(entropy(pixel))
            sums[c] = sums.get(c, 0) + h * pixel
            totals[c] = totals.get(c, 0) + h
    return {c: sums[c] / totals[c] for c in sums}


def diversity(first: dict[int, np.ndarray], second: dict[int, np.ndarray]) -> float:
    """The distance from its definition, class by class."""

    def smooth(p: np.ndarray) -> np.ndarray:
        return (p + SMOOTHING) / (p + SMOOTHING).sum()

    divergences = []
    for c in first.keys() & second.keys():
        p, q = smooth(first[c]), smooth(second[c])
        divergences.append(entropy(p, q) + entropy(q, p))
    return float(np.mean(divergences)) if divergences else math.inf


def as_classes(rows: Tensor) -> list[dict[int, np.ndarray]]:
    """Contexts (n, C, C) as a dict an image."""
    return [{c: p for c, p in enumerate(image) if p.any()} for image in rows.double().numpy()]


def test_contexts_equal_a_loop_over_pixels() -> None:
    p = predictions(6, 5, 3, 4)  # few pixels: in every image some classes are nowhere
    found = contexts(torch.from_numpy(p)).numpy()
    assert found.shape == (6, 5, 5)
    absent = 0
    for image, rows in zip(p, found, strict=True):
        expected = contexts_by_pixel(image)
        for c in range(5):
            assert rows[c] == pytest.approx(expected.get(c, np.zeros(5)), abs=1e-6)
        absent += 5 - len(expected)
    assert absent


def test_pixels_without_entropy_count_alike_among_themselves_and_not_beside_others() -> None:
    sure, other, unsure = [1.0, 0, 0], [0, 1.0, 0], [0.25, 0.5, 0.25]
    p = torch.tensor([sure, sure, other, other, unsure, other]).T.reshape(1, 3, 2, 3)
    rows = contexts(p)[0]
    assert rows[0].tolist() == [1, 0, 0]  # ΣH = 0: not 0 / 0
    assert rows[1].tolist() == pytest.approx(unsure, abs=1e-6)
    assert rows[2].tolist() == [0, 0, 0]


def test_contexts_are_summed_in_full_precision_under_autocast() -> None:
    p = torch.from_numpy(predictions(2, 4, 30, 30))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = contexts(p)
    assert torch.equal(under_autocast, contexts(p))


def test_distances_equal_scipys_divergence_class_by_class() -> None:
    rows = contexts(torch.from_numpy(predictions(12, 6, 3, 3)))
    rows[3] = contexts(torch.tensor([1.0, 0, 0, 0, 0, 0]).reshape(1, 6, 1, 1))  # certain: its logarithms are of 0
    rows[4] = contexts(torch.tensor([0, 1.0, 0, 0, 0, 0]).reshape(1, 6, 1, 1))
    images = as_classes(rows)
    found = ContextualDiversity(rows).distances(torch.arange(12), torch.tensor([7, 4, 0, 3])).numpy()
    for i in range(12):
        for j, center in enumerate((7, 4, 0, 3)):
            expected = diversity(images[i], images[center])
            assert found[i, j] == pytest.approx(min(expected, NO_COMMON_CLASS), rel=1e-6, abs=1e-8)
    assert found[3, 1] == NO_COMMON_CLASS and found[4, 1] == 0


def test_no_common_class_is_farther_than_any_contexts_of_one() -> None:
    # the most different contexts of a class that there can be, and not even those are predictions
    rows = torch.zeros(3, 2, 2)
    rows[0, 0, 0] = rows[1, 0, 1] = rows[2, 1, 1] = 1
    found = ContextualDiversity(rows).distances(torch.arange(3), torch.arange(3))
    assert 0.999 * NO_COMMON_CLASS < found[0, 1] < NO_COMMON_CLASS == found[0, 2] == found[1, 2]
    assert found.diagonal().tolist() == [0, 0, 0]


def test_a_whole_image_is_one_pixel() -> None:
    p = torch.from_numpy(predictions(15, 4, concentration=1.0))
    whole, pixel = contexts(p), contexts(p[:, :, None, None])
    assert whole.shape == (15, 1, 4) and pixel.shape == (15, 4, 4)  # C, not C², floats an image
    every = torch.arange(15)
    found = ContextualDiversity(whole).distances(every, every)
    assert torch.allclose(found, ContextualDiversity(pixel).distances(every, every), atol=1e-6)
    assert len(found.unique()) > 10


class Painted(nn.Module):
    """A network that predicts what the image's colours say: logits are the channels, times ten."""

    def forward_features(self, x: Tensor) -> Tensor:
        return x

    def forward_head(self, features: Tensor) -> Tensor:
        return 10 * features


class PaintedClassifier(Painted):
    """The same of the image's mean colour."""

    def forward_head(self, features: Tensor) -> Tensor:
        return 10 * features.mean((2, 3))


def paint(monkeypatch: pytest.MonkeyPatch, colours: np.ndarray) -> None:
    """Let image i show stripes of ``colours[i]``, (40, k, 3), each as often."""

    def image(self: Squares, index: int) -> np.ndarray:
        tiles = np.arange(32 * 32) % colours.shape[1]
        return colours[index][tiles].reshape(32, 32, 3).astype(np.uint8)

    monkeypatch.setattr(Squares, "image", image)


@pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])
def test_the_query_is_that_of_brute_force(classify: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = np.random.default_rng(5).integers(0, 256, (40, 1 if classify else 4, 3))
    paint(monkeypatch, colours)
    made = make_round(model=(PaintedClassifier() if classify else Painted()).eval(), classify=classify)
    logits = 10 * colours / 255
    p = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    images = [contexts_by_pixel(image.T[:, :, None]) for image in p]  # all tiles are equally many

    nearest = [min(diversity(images[i], images[j]) for j in range(8)) for i in range(8, 40)]
    wanted, distances = [], []
    for _ in range(10):
        pick = int(np.argmax(nearest))
        assert sorted(nearest)[-2] < nearest[pick] - 1e-4  # clear cut
        wanted.append(pick)
        distances.append(nearest[pick])
        nearest = [min(d, diversity(images[8 + i], images[8 + pick])) for i, d in enumerate(nearest)]
    chosen = CDAL().select(made, 10)
    assert chosen.positions.tolist() == wanted and chosen.positions.dtype == np.int64
    assert chosen.scores == pytest.approx(distances, rel=1e-3)


def test_another_context_of_the_same_classes_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    # All scenes are half red, half green. Red is unsure against green, but in four scenes against blue.
    rng = np.random.default_rng(0)
    colours = np.tile([[200, 150, 0], [0, 250, 0]], (40, 1, 1)) + rng.integers(0, 6, (40, 2, 3))
    odd = [13, 20, 21, 37]
    colours[odd, 0] = colours[odd, 0][:, [0, 2, 1]]
    paint(monkeypatch, colours)
    chosen = CDAL().select(make_round(model=Painted().eval()), 3)
    assert chosen.positions[0] + 8 in odd
    assert chosen.scores[0] > 10 * chosen.scores[1]  # the others of them are near it then


def test_a_class_no_labeled_image_shows_comes_before_all_and_falls_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = np.random.default_rng(0).integers((150, 0, 0), (250, 100, 100), (40, 1, 3))
    blue = [9, 18, 27, 36]
    colours[blue] = [0, 0, 200]
    paint(monkeypatch, colours)
    firsts = set()
    for seed in range(20):
        made = make_round(model=Painted().eval(), rng=np.random.default_rng(seed))
        chosen = CDAL().select(made, 2)
        assert chosen.scores[0] == NO_COMMON_CLASS > chosen.scores[1]
        firsts.add(int(chosen.positions[0]) + 8)
    assert firsts == set(blue)


@pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])
def test_the_whole_pool_may_be_asked_for(classify: bool) -> None:
    chosen = CDAL().select(make_round(labeled=[0], classify=classify), 32)
    assert sorted(chosen.positions.tolist()) == list(range(32)) and np.isfinite(chosen.scores).all()


def test_a_diverged_model_is_named() -> None:
    class Diverged(Painted):
        def forward_head(self, features: Tensor) -> Tensor:
            return features * math.nan

    with pytest.raises(UserError, match="NaN"):
        CDAL().select(make_round(model=Diverged().eval()), 3)
