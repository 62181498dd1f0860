"""Uncertainty of the task model's own prediction, one pass over the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from seg_al.strategies.base import ScoreStrategy
from seg_al.strategies.disagreement import entropy
from seg_al.strategies.pooling import MeanPixels, Pooling

if TYPE_CHECKING:
    from seg_al.round import Round

Predict = Callable[[Tensor], Iterable[Tensor]]
"""From images (B, 3, H, W) to predictions of them, one at a time, each (B, C, ...) probabilities."""


class Uncertainty(ScoreStrategy):
    """Base of the strategies that score an image by the uncertainty of its pixels.

    A subclass says where predictions come from (`predictor`) and what is uncertain about them
    (`uncertainty`). Pixels are reduced to one number batch by batch; every pixel counts, for where the
    ground truth is void is not known at query time.
    """

    pixels: Pooling = MeanPixels()
    """How pixels make an image's score: MeanPixels(), TopPixels(share=...), MaxPatch(side=...), TopPatches(...)."""

    resolution: Literal["logits", "input"] = "logits"
    """Where pixels are: at the logits' own resolution (fast), or with logits upsampled to the input's. The two
    rank images nearly alike."""

    def check(self, round: Round, wanted: int) -> None:
        """Score an image: a model without what is looked at, such as dropout, or another mistake shows."""
        self.score(round.first())

    def predictor(self, round: Round) -> Predict:
        """Return what predicts a batch: here the task model, once."""

        def predict(images: Tensor) -> Iterable[Tensor]:
            yield round.task.probabilities(round.model, images, self.size(images))

        return predict

    def size(self, images: Tensor) -> tuple[int, int] | None:
        """Return the height and width at which a batch is predicted; None: the logits' own."""
        return (images.shape[-2], images.shape[-1]) if self.resolution == "input" else None

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        """Map predictions, each (B, C, ...) probabilities, to the uncertainty of each pixel, (B, ...)."""
        raise NotImplementedError

    def score(self, round: Round) -> Tensor:
        """Return the pooled uncertainty of each unlabeled image, (N,)."""
        predict = self.predictor(round)
        return round.map(lambda images: self.pixels(self.uncertainty(predict(images))), round.unlabeled)


class Entropy(Uncertainty):
    """Max entropy: H(p) = -Σ_c p_c log p_c of each pixel, in nats (Shannon 1948; Settles 2009, §3.1).

    Cost: one pass of the task model over the unlabeled pool.
    """

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        """Return H(p), in [0, log C]."""
        (p,) = predictions
        return entropy(p)


class LeastConfidence(Uncertainty):
    """Least confidence: 1 − p₁ of each pixel, p₁ the highest probability (Lewis & Gale 1994; Settles 2009, §3.1).

    Cost: one pass of the task model over the unlabeled pool.
    """

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        """Return 1 − p₁, in [0, 1 − 1/C]."""
        (p,) = predictions
        return 1 - p.amax(1)


class Margin(Uncertainty):
    """Margin: 1 − (p₁ − p₂) of each pixel, its two highest probabilities (Scheffer et al. 2001; Settles 2009, §3.1).

    Cost: one pass of the task model over the unlabeled pool.
    """

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        """Return 1 − (p₁ − p₂), in [0, 1]."""
        (p,) = predictions
        first = p.topk(min(2, p.shape[1]), dim=1).values
        return 1 - (first[:, 0] - first[:, 1:].sum(1))  # of one class alone, the second is 0
