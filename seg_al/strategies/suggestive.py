"""Suggestive annotation: uncertain images that represent the pool."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.strategies.base import Selection, highest
from seg_al.strategies.committee import CommitteeUncertainty
from seg_al.strategies.disagreement import variance
from seg_al.tasks.base import spatial_mean

if TYPE_CHECKING:
    from seg_al.round import Round

FEW, MANY = 8, 64
"""Candidates whose gains are computed together in one pass over the pool's descriptors, at first and at most."""

POOL_BLOCK = 2**14
"""Images of the pool whose similarities to them exist at a time."""


class SuggestiveAnnotation(CommitteeUncertainty):
    """Suggestive annotation: of the most uncertain images, those that best represent the pool (Yang et al. 2017).

    The committee is trained on bootstrap resamples of the labeled pool. Candidates are the K images of the
    highest uncertainty, the variance of the members' probabilities (Σ_c Var_t(p_tc), pooled over pixels).
    From them images are added one at a time, each the one that most increases
    ``F(S) = Σ_{j∈U} max_{i∈S} cos(f_i, f_j)`` over the unlabeled pool U, where f are the channel means
    of the deepest encoder map and the cosine is averaged over members. The maximum over no image is 0, as
    in the paper; features with signs can have negative cosines, which count as 0, so that gains never grow.

    Cost: N trainings of the task model (resamples differ from what the round's model saw), one pass of each
    member over the unlabeled pool, and at least two times K·|U|·N·D multiplications to select. Memory: one row
    of N·D floats for each unlabeled image, D the encoder's channels: 10 kB with 5 members of 512 channels,
    so 10 GB for a million images, on the device while selecting. No similarities are kept.
    """

    candidates: float = 2.0
    """K, uncertain images to choose from, as a multiple of the budget. At least 1: then uncertainty alone decides."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.candidates < math.inf:
            raise UserError(f"SuggestiveAnnotation.candidates must be at least 1, not {self.candidates}")

    def committee(self, round: Round) -> list[nn.Module]:
        """Return the members, in eval mode, each trained on its own resample of the labeled pool."""
        return [round.train_member(k, bootstrap=True) for k in range(self.members)]

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        """Return Σ_c Var_t(p_tc), in [0, 1 − 1/N]."""
        return variance(predictions)

    def check(self, round: Round, wanted: int) -> None:
        """Score and describe an image: what is at odds with the model shows."""
        self.describe(round.first())

    def describe(self, round: Round) -> Tensor:
        """Return a row for each unlabeled image, its uncertainty and the members' descriptors: (U, 1 + N·D)."""
        committee = self.committee(round)

        def both(images: Tensor) -> Tensor:
            descriptors: list[Tensor] = []

            def predictions() -> Iterator[Tensor]:
                for member in committee:
                    deepest, features = member.forward_both(images)  # type: ignore[operator]
                    descriptors.append(F.normalize(spatial_mean(deepest), dim=1))
                    yield round.task.head(member, features, self.size(images))

            score = self.pixels(self.uncertainty(predictions()))
            # a dot product of these rows is the members' average cosine
            return torch.cat([score[:, None], *(d / math.sqrt(self.members) for d in descriptors)], dim=1)

        return round.map(both, round.unlabeled)

    def select(self, round: Round, budget: int) -> Selection:
        """Return `budget` images in the order of their choice; scores are the gains in F at that time."""
        rows = self.describe(round)
        with round.timed("select"):
            count = min(len(rows), math.ceil(self.candidates * budget))
            uncertain = highest(rows[:, 0].double().numpy(), count, round.rng).positions
            chosen, gains = most_representative(rows[:, 1:].to(round.fabric.device), uncertain, budget)
            return Selection(chosen, gains)


def most_representative(descriptors: Tensor, candidates: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose candidates one at a time, each the one that most increases ``F(S) = Σ_j max(0, max_{i∈S} f_i·f_j)``.

    Exact lazy greedy (Minoux 1978): F is submodular, so a gain computed earlier bounds the gain of now, and
    only candidates whose bound reaches the best gain are looked at again. Equal gains go to the earlier
    candidate.

    Args:
        descriptors: (N, D) of the pool.
        candidates: (K,) positions in the pool.

    Returns:
        (budget,) positions in the pool and the gain of each, which never rise.
    """
    places = torch.as_tensor(candidates, device=descriptors.device)
    covered = descriptors.new_zeros(len(descriptors))  # max_{i∈S} f_i·f_j of each image j
    bounds = np.full(len(candidates), np.inf)
    chosen: list[int] = []
    gains: list[float] = []
    for _ in range(budget):
        fresh = np.zeros(len(candidates), bool)
        at_once = FEW
        while not fresh[best := int(bounds.argmax())]:
            stale = np.flatnonzero(~fresh & (bounds > -np.inf))
            promising = np.argpartition(-bounds[stale], min(at_once, len(stale)) - 1)[:at_once]
            looked_at = stale[promising]
            bounds[looked_at] = _gains(descriptors, covered, descriptors[places[looked_at]]).cpu().numpy()
            fresh[looked_at] = True
            at_once = min(2 * at_once, MANY)
        chosen.append(best)
        gains.append(float(bounds[best]))
        bounds[best] = -np.inf
        torch.maximum(covered, descriptors @ descriptors[places[best]], out=covered)
    return candidates[chosen], np.array(gains)


def _gains(descriptors: Tensor, covered: Tensor, candidates: Tensor) -> Tensor:
    """Return what each candidate (m, D) adds to F, (m,) float64."""
    gains = torch.zeros(len(candidates), dtype=torch.float64, device=descriptors.device)
    for block, covers in zip(descriptors.split(POOL_BLOCK), covered.split(POOL_BLOCK), strict=True):
        gains += (block @ candidates.T - covers[:, None]).clamp(min=0).sum(0, dtype=torch.float64)
    return gains
