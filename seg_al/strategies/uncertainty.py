"""Uncertainty of the task model's own prediction, one pass over the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seg_al.strategies.base import ScoreStrategy

if TYPE_CHECKING:
    from seg_al.round import Round


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy in nats over the class axis: (B, C, ...) to (B, ...); 0·log 0 counts as 0."""
    return torch.special.entr(probabilities).sum(1)


class Entropy(ScoreStrategy):
    """Max entropy: the mean over pixels of H(p) = -Σ_c p_c log p_c, in nats (Shannon 1948; Settles 2009, §3.1).

    Pixels are those of the logits' own resolution. Every pixel counts: where the ground truth is void is
    not known at query time. Cost: one pass of the task model over the unlabeled pool.
    """

    def score(self, round: Round) -> Tensor:
        """Return the mean entropy of each unlabeled image, (N,)."""

        def mean_entropy(images: Tensor) -> Tensor:
            return entropy(round.task.probabilities(round.model, images)).flatten(1).mean(1)

        return round.map(mean_entropy, round.unlabeled)
