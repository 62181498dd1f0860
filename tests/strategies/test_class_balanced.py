"""Class-balanced entropy against its formula in numpy, and on images made so that the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rounds import make_round
from scipy.stats import entropy as scipy_entropy
from tiny import Squares
from torch import Tensor

from seg_al import Entropy, MaxPatch, TopPixels, UserError
from seg_al.data.views import ImageView
from seg_al.models.base import Network
from seg_al.round import Round
from seg_al.strategies.class_balanced import ClassBalancedEntropy, class_weights


class Painted(Network):
    """Three classes whose logits are the image's channels, from 0 where one is black to 8 where it is full."""

    def forward_features(self, x: Tensor) -> Tensor:
        return x

    def forward_head(self, features: Tensor) -> Tensor:
        return 8 * features


def paint(*rows: tuple[int, int, int]) -> np.ndarray:
    """Return an image of 32 x 32 pixels in horizontal stripes of equal height."""
    return np.repeat(np.array(rows, np.uint8), 32 // len(rows), axis=0)[:, None].repeat(32, axis=1)


def painted_round(monkeypatch: pytest.MonkeyPatch, labeled: list[np.ndarray], unlabeled: list[np.ndarray]) -> Round:
    images = [*labeled, *unlabeled]
    monkeypatch.setattr(Squares, "image", lambda _, index: images[index])
    places = list(range(len(images)))
    return make_round(
        labeled=places[: len(labeled)], unlabeled=places[len(labeled) :], model=Painted().eval(), batch_size=3
    )


def probabilities(round: Round, images: ImageView) -> np.ndarray:
    """Return the model's class probabilities of images, (N, C, ...), by numpy."""
    with torch.no_grad():
        batch = round.to_input(torch.stack([images[i] for i in range(len(images))]))
        z = round.model.forward_head(round.model.forward_features(batch)).double().numpy()  # type: ignore[operator]
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


@pytest.mark.parametrize("smoothing", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])
def test_scores_are_entropies_times_expected_inverse_frequencies(smoothing: float, classify: bool) -> None:
    made = make_round(classify=classify)
    known, asked = (probabilities(made, view).reshape(len(view), 3, -1) for view in (made.labeled, made.unlabeled))
    frequencies = known.mean((0, 2))
    mixed = (1 - smoothing) * frequencies + smoothing / 3
    weights = (1 / 3) / mixed
    pixels = scipy_entropy(asked, axis=1) * np.einsum("ncp,c->np", asked, weights)
    got = ClassBalancedEntropy(smoothing=smoothing).score(made).numpy()
    assert got == pytest.approx(pixels.mean(1), rel=1e-4)
    assert made.diagnostics["class_balanced"]["weights"] == pytest.approx(weights, rel=1e-4)
    if smoothing == 1:
        assert got == pytest.approx(Entropy().score(make_round(classify=classify)).numpy(), rel=1e-5)
    else:
        assert np.ptp(frequencies) > 0.05


RED, GREEN, BLUE, VIOLET, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255), (255, 255, 0)


def test_doubts_about_a_rare_class_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red and green are frequent, blue is rare; the model is as unsure of red or green as of red or blue."""
    labeled = [paint(RED, GREEN), paint(GREEN, RED), paint(RED, GREEN, GREEN, RED, RED, GREEN, GREEN, BLUE)]
    unlabeled = [paint(YELLOW, YELLOW, RED, RED), paint(RED), paint(VIOLET, RED, RED, RED), paint(BLUE)]
    made = painted_round(monkeypatch, labeled, unlabeled)
    assert Entropy().select(made, 1).positions.tolist() == [0]  # more pixels are in doubt
    assert ClassBalancedEntropy().select(made, 4).positions.tolist()[:2] == [2, 0]


def test_a_rare_class_counts_where_it_is_only_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red is the first class of both; of one image the second is the rare blue."""
    labeled = [paint(RED, GREEN)]
    unlabeled = [paint((255, 240, 0)), paint((255, 0, 240))]
    made = painted_round(monkeypatch, labeled, unlabeled)
    plain, balanced = Entropy().score(made), ClassBalancedEntropy().score(made)
    assert plain[0].item() == pytest.approx(plain[1].item())
    assert balanced[1] > 2 * balanced[0]


def test_equal_frequencies_give_plain_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    unlabeled = [rng.integers(0, 255, (32, 32, 3)).astype(np.uint8) for _ in range(5)]
    made = painted_round(monkeypatch, [paint(RED), paint(GREEN), paint(BLUE)], unlabeled)
    assert torch.allclose(ClassBalancedEntropy().score(made), Entropy().score(made), rtol=1e-4)


def test_a_class_never_predicted_has_a_bounded_weight() -> None:
    weights = class_weights(torch.tensor([0.75, 0.25, 0.0, 0.0]), 0.1)
    assert weights.tolist() == pytest.approx([0.25 / (0.9 * 0.75 + 0.025), 0.25 / (0.9 * 0.25 + 0.025), 10, 10])
    counts = np.array([75, 25, 0, 0])  # additive smoothing: so much is added to each count
    added = 100 * 0.1 / 0.9 / 4
    assert weights.tolist() == pytest.approx(0.25 / ((counts + added) / (counts + added).sum()))


@pytest.mark.parametrize("pixels", [TopPixels(share=0.25), MaxPatch(side=0.5)], ids=["top pixels", "patch"])
def test_pixels_are_weighted_before_they_are_pooled(
    pixels: TopPixels | MaxPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    labeled = [paint(RED, GREEN)]
    made = painted_round(monkeypatch, labeled, [paint(YELLOW, YELLOW, VIOLET, VIOLET)])
    got = ClassBalancedEntropy(pixels=pixels).score(made).item()
    weights = np.array(made.diagnostics["class_balanced"]["weights"])
    p = probabilities(made, made.unlabeled)[0, :, -1, 0]  # of a violet pixel, the more wanted half
    assert got == pytest.approx(scipy_entropy(p) * (p @ weights), rel=1e-4)


def test_resolution_is_the_inputs_where_asked_for() -> None:
    made, same = make_round(), make_round()
    at_input = ClassBalancedEntropy(resolution="input").score(made)
    at_logits = ClassBalancedEntropy().score(same)
    assert not torch.allclose(at_input, at_logits, rtol=1e-4)
    assert np.corrcoef(at_input, at_logits)[0, 1] > 0.9


@pytest.mark.parametrize("smoothing", [0.0, -0.1, 1.5])
def test_smoothing_is_checked(smoothing: float) -> None:
    with pytest.raises(UserError, match=r"ClassBalancedEntropy\.smoothing must be above 0 and at most 1"):
        ClassBalancedEntropy(smoothing=smoothing)
