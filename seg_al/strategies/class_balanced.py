"""Class-balanced entropy: uncertainty counts more where the class is rare among the labeled images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from seg_al.config import UserError
from seg_al.strategies.disagreement import entropy
from seg_al.strategies.uncertainty import Uncertainty
from seg_al.tasks.base import spatial_mean

if TYPE_CHECKING:
    from seg_al.round import Round


class ClassBalancedEntropy(Uncertainty):
    """Entropy weighted by inverse predicted class frequency: `H(p) · Σ_c p_c w_c` of each pixel.

    After the class-balanced acquisition of Cai et al. (CVPR 2021), who weight a superpixel by exp(−f_c) of
    its predicted class c, f_c the share of superpixels predicted as c. Here, for whole images::

        f_c = mean of p_c over the pixels of the labeled images
        w_c = 1 / (C · ((1 − s)·f_c + s/C))         s: `smoothing`

    The weight is the expected one under p, not that of the most probable class: pixels in doubt are what the
    score is about, and there a rare class is mostly second, as a model trained on few of its pixels seldom
    puts it first; nor does the weight jump where two classes change places. For the same reason f averages
    probabilities: a count of predicted labels comes out too low for rare classes, while the mean probability
    on its own training images is about the labels' frequency once a model is trained (the difference of the
    two is the gradient of cross-entropy by the class's bias).

    Equal frequencies make every weight 1, which is plain entropy. Cost: one pass of the task model over the
    labeled and the unlabeled pool.
    """

    smoothing: float = 0.1
    """Share s of a uniform distribution mixed into the frequencies, in (0, 1] (additive smoothing, by s/(1 − s)
    spread over the classes): no weight exceeds 1/s, which a class never predicted has; 1 is plain entropy."""

    def __post_init__(self) -> None:
        if not 0 < self.smoothing <= 1:
            raise UserError(f"ClassBalancedEntropy.smoothing must be above 0 and at most 1, not {self.smoothing}")

    def score(self, round: Round) -> Tensor:
        """Return the pooled weighted entropy of each unlabeled image, (N,)."""
        predict = self.predictor(round)

        def frequencies(images: Tensor) -> Tensor:
            (p,) = predict(images)
            return spatial_mean(p)

        weights = class_weights(round.map(frequencies, round.labeled).mean(0), self.smoothing)
        round.log(class_balanced={"weights": weights.tolist()})

        def weighted_entropy(images: Tensor) -> Tensor:
            (p,) = predict(images)
            return self.pixels(entropy(p) * expected(weights.to(p), p))

        return round.map(weighted_entropy, round.unlabeled)


def class_weights(frequencies: Tensor, smoothing: float) -> Tensor:
    """Return `1 / (C · ((1 − s)·f_c + s/C))` of class frequencies (C,) that sum to 1; in (0, 1/s]."""
    return 1 / ((1 - smoothing) * frequencies * len(frequencies) + smoothing)


def expected(weights: Tensor, p: Tensor) -> Tensor:
    """Return `Σ_c p_c w_c`: weights (C,) and probabilities (B, C, ...) to (B, ...)."""
    return (weights.view(-1, *(1 for _ in p.shape[2:])) * p).sum(1)
