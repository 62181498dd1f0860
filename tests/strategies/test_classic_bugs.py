"""The field's classic bugs, each put into a strategy: the checks of the contract must find it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from contract import check_invariance, check_query, check_ranking
from torch import Tensor

from seg_al import Entropy, Random
from seg_al.round import Round
from seg_al.strategies.base import ScoreStrategy, Selection, Strategy
from seg_al.strategies.disagreement import entropy


class SignFlipped(Entropy):
    def score(self, round: Round) -> Tensor:
        return -super().score(round)


class ShuffledLoader(Entropy):
    """Scores a shuffled loader, and takes its places for those of the pool."""

    def score(self, round: Round) -> Tensor:
        shuffled = np.random.default_rng(0).permutation(len(round.unlabeled))
        return round.map(lambda x: entropy(round.task.probabilities(round.model, x)).flatten(1).mean(1),
                         round.unlabeled.subset(shuffled))  # fmt: skip


class DataSetIndices(Random):
    """Takes indices of the data set for positions in the unlabeled pool."""

    def select(self, round: Round, budget: int) -> Selection:
        return Selection(round.unlabeled.indices[-budget:], np.zeros(budget))


class ReadsLabels(ScoreStrategy):
    """Counts classes in the labels, as if the pool were labeled."""

    def score(self, round: Round) -> Tensor:
        samples = round.unlabeled._read.__self__  # type: ignore[attr-defined]
        return torch.tensor([float(len(np.unique(samples.target(i)))) for i in round.unlabeled.indices])


class SkipsVoid(ScoreStrategy):
    """Averages over the pixels that the ground truth does not call void."""

    def score(self, round: Round) -> Tensor:
        samples = round.unlabeled._read.__self__  # type: ignore[attr-defined]
        scores = []
        for position, index in enumerate(round.unlabeled.indices):
            image = round.to_input(round.unlabeled[position][None])
            pixels = entropy(round.task.probabilities(round.model, image, image.shape[-2:]))[0]
            scores.append(pixels[torch.from_numpy(samples.target(index) != 255)].mean())
        return torch.stack(scores)


class BatchNormTrains(Entropy):
    """Switches the whole network to training mode for its dropout, and back."""

    def score(self, round: Round) -> Tensor:
        round.model.train()
        try:
            return super().score(round)
        finally:
            round.model.eval()


class ModesNotRestored(Entropy):
    def score(self, round: Round) -> Tensor:
        scores = super().score(round)
        round.model.train()
        return scores


class Augments(Entropy):
    def score(self, round: Round) -> Tensor:
        round.unlabeled = round.unlabeled.at(round.unlabeled.size, flip=True)
        return super().score(round)


class WithReplacement(Random):
    def select(self, round: Round, budget: int) -> Selection:
        return Selection(round.rng.integers(0, len(round.unlabeled), budget), np.full(budget, np.nan))


class GlobalRandom(Random):
    def select(self, round: Round, budget: int) -> Selection:
        return Selection(np.random.permutation(len(round.unlabeled))[:budget], np.zeros(budget))  # noqa: NPY002


class NormalisedPerImage(Entropy):
    """Stretches each image's entropies to [0, 1] before it averages them."""

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        pixels = super().uncertainty(predictions)
        return pixels / pixels.flatten(1).amax(1).clamp(min=1e-12)[:, None, None]


class FirstBatchDiffers(Entropy):
    """Returns the first batch of the pool as it came, before its entropy is taken."""

    def score(self, round: Round) -> Tensor:
        scores = super().score(round)
        scores[: round.batch_size] = scores[: round.batch_size] * 2
        return scores


class FallsToThePoolsOrder(ScoreStrategy):
    """Scores nothing, and so asks for the first of the pool."""

    def score(self, round: Round) -> Tensor:
        return torch.arange(len(round.unlabeled), 0, -1).float()


@pytest.mark.parametrize(
    ("strategy", "check"),
    [
        (SignFlipped(), check_ranking),
        (ShuffledLoader(), check_ranking),
        (ShuffledLoader(), check_invariance),
        (DataSetIndices(), check_query),
        (ReadsLabels(), check_query),
        (SkipsVoid(), check_query),
        (SkipsVoid(), check_ranking),
        (BatchNormTrains(), check_query),
        (ModesNotRestored(), check_query),
        (Augments(), check_query),
        (WithReplacement(), check_query),
        (GlobalRandom(), check_query),
        (NormalisedPerImage(), check_ranking),
        (FirstBatchDiffers(), check_invariance),
        (FirstBatchDiffers(), check_ranking),
        (FallsToThePoolsOrder(), check_invariance),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_the_contract_finds_the_bug(strategy: Strategy, check: Callable[[Strategy], None]) -> None:
    with pytest.raises(AssertionError):
        check(strategy)


def test_the_contract_has_nothing_against_the_same_strategies_without_bugs() -> None:
    for check in (check_query, check_ranking, check_invariance):
        check(Entropy())
    check_query(Random())
