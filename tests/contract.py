"""What every strategy keeps, as checks; `test_contract` runs them, `test_classic_bugs` shows that they can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from rounds import make_round
from tiny import Squares
from torch import Tensor, nn

from seg_al.data.views import ImageView
from seg_al.models.base import SegmentationNetwork
from seg_al.round import Round
from seg_al.strategies.base import Selection, Strategy


def query(strategy: Strategy, budget: int, **changes: Any) -> tuple[Round, Selection]:
    """Select in a round that fails where a network of the task is run in training mode, or on mirrored images."""
    made = make_round(**changes)
    plain_map, plain_member = made.map, made.new_member
    watch(made.model)

    def watched_map(fn: Callable[[Tensor], Tensor], images: ImageView, timed_as: str = "score") -> Tensor:
        assert not images._flip, "images were mirrored while scoring"
        return plain_map(fn, images, timed_as)

    def watched_member(k: int, bootstrap: bool) -> tuple[nn.Module, float]:
        member, seconds = plain_member(k, bootstrap)
        return watch(member), seconds

    made.map, made.new_member = watched_map, watched_member  # type: ignore[method-assign]
    return made, strategy.select(made, budget)


def watch(network: nn.Module) -> nn.Module:
    """Make a network fail where a module of it runs in training mode."""

    def check(module: nn.Module, _: Any) -> None:
        assert not module.training, "a module ran in training mode while scoring"

    for module in network.modules():
        module.register_forward_pre_hook(check)
    return network


def check_query(strategy: Strategy, classify: bool = False) -> None:
    """A query is valid, reproducible, made without labels, and leaves the networks as they were."""

    def unreachable(*_: object) -> None:
        raise AssertionError("a strategy read a label")

    selections = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Squares, "target", unreachable)
        for disturbance in (0, 1):
            torch.manual_seed(disturbance)  # the global streams are not the strategy's
            np.random.seed(disturbance)  # noqa: NPY002
            before = make_round(classify=classify).model.state_dict()
            made, selection = query(strategy, 20, classify=classify)
            for network in (made.model, *made.members.values()):
                assert not any(module.training for module in network.modules()), "modes were not restored"
            assert all(torch.equal(v, before[k]) for k, v in made.model.state_dict().items())
            selections.append(selection)
    first, second = selections
    assert first.positions.shape == first.scores.shape == (20,)
    assert first.positions.dtype == np.int64
    assert len(set(first.positions.tolist())) == 20, "an image twice"
    assert first.positions.min() >= 0 and first.positions.max() < 32, "not a position in the unlabeled pool"
    assert first.positions.tolist() == second.positions.tolist(), "the same round, another query"
    assert np.array_equal(first.scores, second.scores, equal_nan=True)


def check_extremes(strategy: Strategy, classify: bool = False) -> None:
    """One image, all images, and one labeled image are queries like others."""
    assert query(strategy, 1, classify=classify)[1].positions.shape == (1,)
    every = query(strategy, 9, classify=classify, labeled=[0], unlabeled=list(range(1, 10)))[1]
    assert sorted(every.positions.tolist()) == list(range(9))


def check_invariance(strategy: Strategy, classify: bool = False) -> None:
    """Order and batches of the pool change nothing: the same images with the same scores."""
    order = np.random.default_rng(1).permutation(np.arange(8, 40)).tolist()
    answers = []
    for changes in ({}, {"unlabeled": order, "batch_size": 7}, {"batch_size": 32}):
        made, selection = query(strategy, 6, classify=classify, **changes)
        ids = [made.unlabeled.ids[p] for p in selection.positions]
        answers.append(dict(zip(ids, selection.scores, strict=True)))
    assert answers[0].keys() == answers[1].keys() == answers[2].keys()
    for answer in answers[1:]:
        for name, score in answers[0].items():
            assert answer[name] == pytest.approx(score, rel=1e-3, abs=1e-5, nan_ok=True)


class Known(SegmentationNetwork):
    """A network that is uncertain where the red channel is 1, and nowhere else.

    There its logit is a sum of dropped-out channels whose weights cancel, plus a bias of its own: without
    dropout and bias the classes are even; dropout or members of other biases disagree. Elsewhere the logit
    is 20, whatever is dropped.
    """

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.bias, self.dropout = bias, nn.Dropout2d(0.5)

    def forward_features(self, x: Tensor) -> Tensor:
        return x[:, :1]

    def forward_head(self, features: Tensor) -> Tensor:
        unsure = self.dropout(features.expand(-1, 16, -1, -1))
        signs = torch.tensor([0.5, -0.5] * 8).view(1, -1, 1, 1)
        logit = (unsure * signs).sum(1, keepdim=True) + self.bias * features + 20 * (1 - features)
        return torch.cat([logit, torch.zeros_like(logit)], 1)


SHARES = np.random.default_rng(0).permutation(40) / 40
"""Share of the pixels of image i that `Known` is uncertain of."""


def known_round(**changes: Any) -> dict[str, Any]:
    """Return what makes a round of `Known` networks; their images come from `known_images`."""
    members = {k: (Known(bias).eval(), 0.0) for k, bias in enumerate((-1.0, 3.0, -3.0, 2.0, -2.0))}
    return {"model": Known().eval(), "new_member": lambda k, _: members[k], **changes}


def known_images(patch: pytest.MonkeyPatch) -> None:
    """Draw images whose first rows are red, `SHARES` of all; the ground truth calls the first two rows void."""

    def image(self: Squares, index: int) -> np.ndarray:
        picture = np.zeros((32, 32, 3), np.uint8)
        picture[: round(32 * SHARES[index]), :, 0] = 255
        return picture

    patch.setattr(Squares, "image", image)


def check_ranking(strategy: Strategy) -> None:
    """The more pixels of an image are uncertain, the earlier it is asked for."""
    with pytest.MonkeyPatch.context() as patch:
        known_images(patch)
        _, selection = query(strategy, 8, **known_round())
    rows = np.round(32 * SHARES[8:])
    assert rows[selection.positions].tolist() == sorted(rows, reverse=True)[:8]
    assert np.all(np.diff(selection.scores) <= 0) and selection.scores[-1] > 0
    # the scores are comparable between images: in proportion to the uncertain share
    assert selection.scores / selection.scores[0] == pytest.approx(rows[selection.positions] / rows.max(), rel=1e-3)
