"""CDAL: images whose classes are confused in other ways, in other surroundings, than in the labeled ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_al.config import UserError
from seg_al.strategies.base import Selection, Strategy
from seg_al.strategies.disagreement import entropy
from seg_al.strategies.features import distance_device
from seg_al.strategies.kcenter import Metric, k_center_greedy

if TYPE_CHECKING:
    from seg_al.round import Round

SMOOTHING = 1e-6
"""ε, added to each probability of a context before it is normalised, so that no logarithm is infinite."""

NO_COMMON_CLASS = 2 * math.log((1 + SMOOTHING) / SMOOTHING)
"""Distance of two images that share no class, 27.6: above any other, for in one class it is at most
Σ_c |p_c − q_c|·|log p_c − log q_c| < 2·log((1 + ε) / ε)."""


class CDAL(Strategy):
    """CDAL-CS: k-center greedy on contextual diversity (Agarwal, Arora, Anand, Arora, ECCV 2020, §3).

    The context of a class in an image is the mean prediction of the pixels that are predicted as this class,
    weighted by their entropy (`contexts`): what the class is confused with there. Images are as far from each
    other as their classes' contexts differ (`ContextualDiversity`). The query is the images farthest from the
    labeled ones and from each other, taken one by one. Pixels are those of the logits' own resolution; a whole
    image that is classified is one pixel.

    Scores are the distances to the nearest labeled or earlier picked image. Equal distances, as those of images
    that have no class in common with any center, fall by the round's random stream, not by the pool's order.

    Raises (on use):
        UserError: a prediction is NaN.

    Cost: one pass of the task model over both pools; C² floats an image (classification: C); then at most
    N·(|L| + b) distances of 2C² multiplications.
    """

    def select(self, round: Round, budget: int) -> Selection:
        """Return `budget` positions in ``round.unlabeled``, the farthest first."""

        def describe(images: Tensor) -> Tensor:
            return contexts(round.task.probabilities(round.model, images))

        labeled, unlabeled = round.map(describe, round.labeled), round.map(describe, round.unlabeled)
        if labeled.isnan().any() or unlabeled.isnan().any():
            raise UserError("predictions of the pool are NaN; the model has diverged")
        with round.timed("select"):
            order = round.rng.permutation(len(unlabeled))
            metric = ContextualDiversity(torch.cat([labeled, unlabeled[order]]).to(distance_device(round)))
            picks, distances = k_center_greedy(metric, torch.arange(len(labeled)), budget)
            return Selection(order[picks.cpu().numpy() - len(labeled)], distances.double().cpu().numpy())


def contexts(probabilities: Tensor) -> Tensor:
    """Return the contextual distributions ``P_c = Σ_{p: ŷ=c} H_p·p_p / Σ_{p: ŷ=c} H_p`` (Eq. 1).

    Args:
        probabilities: (B, C, h, w), or (B, C) of whole images.

    Returns:
        (B, C, C): row c is P_c, or zeros where no pixel is predicted as c. For whole images (B, 1, C): their one
        pixel's prediction, the context of the class it is highest in.

    Where the entropies H_p of all pixels of a class are 0, they count alike.
    """
    if probabilities.dim() == 2:
        return probabilities[:, None]
    p = probabilities.float().flatten(2)
    weights = entropy(p)[:, None] + 1e-12  # lost beside any entropy that is not 0
    by_class = torch.zeros_like(p).scatter_(1, p.argmax(1, keepdim=True), weights)
    with torch.autocast(p.device.type, enabled=False):  # a sum over an image's pixels in bfloat16 is none
        sums = by_class @ p.mT
    return sums / sums.sum(2, keepdim=True).clamp(min=1e-30)


class ContextualDiversity(Metric):
    """Mean over the classes that two images share of the symmetric KL divergence of their contexts (Eq. 2).

    ``d(I, J) = 1/|S| Σ_{c ∈ S} KL(P_c ‖ Q_c) + KL(Q_c ‖ P_c)``, S the classes predicted in both. Eq. 2 adds up
    halves instead; as in the authors' code the mean is taken, so that images do not move apart by the number of
    their classes. Where S is empty, both make the distance 0, as if the images were the same; no common context
    is the opposite, and is `NO_COMMON_CLASS` here. Not a metric in the strict sense: the triangle inequality
    does not hold.

    ``Σ_c (p − q)(log p − log q)`` is taken apart into matrix products, where classes that are not predicted are
    rows of zeros, in p and in log p.

    Args:
        contexts: (n, C, C) or (n, 1, C), as `contexts` returns them. They are not copied.
    """

    def __init__(self, contexts: Tensor) -> None:
        self.contexts = contexts

    def __len__(self) -> int:
        return len(self.contexts)

    def distances(self, rows: Tensor, centers: Tensor) -> Tensor:
        """Return distances (r, c), float64, in [0, `NO_COMMON_CLASS`]."""
        (p, log_p, plogp, in_p), (q, log_q, qlogq, in_q) = self._terms(rows), self._terms(centers)
        shared = in_p @ in_q.T
        total = plogp @ in_q.T + in_p @ qlogq.T - p @ log_q.T - log_p @ q.T
        # products differ in their last digits from block to block: rounded, equal distances are equal
        distances = (total / shared.clamp(min=1)).clamp(min=0).round(decimals=9)
        return distances.masked_fill_(shared == 0, NO_COMMON_CLASS)

    def _terms(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return of images (r,): p and log p, (r, C·C) or (r, C); Σ p·log p and presence by class, (r, C)."""
        p = self.contexts[index].double()
        classes = p.shape[2]
        known = (p.sum(2) > 0).double()  # which rows are contexts
        present = F.one_hot(p[:, 0].argmax(1), classes).double() if p.shape[1] == 1 else known
        p = (p + SMOOTHING) / (1 + classes * SMOOTHING) * known[:, :, None]
        log_p = torch.where(p > 0, p.log(), 0)
        return p.flatten(1), log_p.flatten(1), (p * log_p).sum(2) * present, present
