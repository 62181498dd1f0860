"""Dropout at query time: what is random, what is not, and what it costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from rounds import make_round
from scipy.stats import entropy as scipy_entropy
from torch import Tensor, nn

from seg_al import BALD, DBAL, DRN, SMP, MCDropout, UserError
from seg_al.models.base import SegmentationNetwork
from seg_al.strategies.mc_dropout import active_dropout, dropping


class Watched(SegmentationNetwork):
    """Counts the runs of its parts, and notes if anything was in training mode; its dropout drops halves."""

    def __init__(self, dropout: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Softplus())  # never 0
        self.drop, self.classify = dropout, nn.Conv2d(16, 3, 1)
        self.features_runs = self.head_runs = 0
        self.seen: list[Tensor] = []

    def forward_features(self, x: Tensor) -> Tensor:
        self.features_runs += 1
        assert not any(module.training for module in self.modules())
        return self.body(x)

    def forward_head(self, features: Tensor) -> Tensor:
        self.head_runs += 1
        assert not any(module.training for module in self.modules())
        dropped = self.drop(features)
        self.seen.append(dropped)
        return self.classify(dropped)


def by_hand(network: Watched, images: Tensor, masks: list[Tensor]) -> np.ndarray:
    """Return the probabilities (T, B, C, h, w) of passes whose channels are dropped by hand."""
    features = network.body(images)
    return np.stack([network.classify(features * mask).softmax(1).numpy() for mask in masks])


@pytest.mark.parametrize(
    ("strategy", "statistic"),
    [
        (MCDropout(passes=4), lambda p: p.var(0).sum(1)),
        (MCDropout(passes=4, statistic="deviation"), lambda p: p.std(0).mean(1)),
        (DBAL(passes=4), lambda p: scipy_entropy(p.mean(0), axis=1)),
        (BALD(passes=4), lambda p: scipy_entropy(p.mean(0), axis=1) - scipy_entropy(p, axis=2).mean(0)),
    ],
    ids=["variance", "deviation", "DBAL", "BALD"],
)
@torch.no_grad()
def test_scores_are_the_papers_over_passes_of_dropped_channels(
    strategy: MCDropout, statistic: Callable[[np.ndarray], np.ndarray]
) -> None:
    network = Watched(nn.Dropout2d(0.5)).eval()
    made = make_round(model=network)
    made.rng = np.random.default_rng(5)
    scores = strategy.score(made).numpy()
    seeds = np.random.default_rng(5).integers(0, 2**62, size=4)
    masks = []
    for seed in seeds.tolist():  # what the docstring says: a channel is dropped alike in every image
        kept = torch.rand(16, 1, 1, generator=torch.Generator().manual_seed(seed)) >= 0.5
        masks.append(kept * 2.0)
    images = made.to_input(torch.stack([made.unlabeled[i] for i in range(32)]))
    wanted = statistic(by_hand(network, images, masks)).mean((1, 2))
    assert scores == pytest.approx(wanted, rel=1e-4, abs=1e-7)
    assert scores.std() > 0


def test_features_run_once_and_the_head_once_a_pass() -> None:
    network = Watched(nn.Dropout2d(0.2)).eval()
    DBAL(passes=6).select(make_round(model=network, batch_size=8), 3)
    assert (network.features_runs, network.head_runs) == (4, 24)


@pytest.mark.parametrize(("layer", "channels"), [(nn.Dropout2d(0.5), True), (nn.Dropout(0.5), False)])
def test_passes_drop_other_units_and_images_the_same(layer: nn.Module, channels: bool) -> None:
    network = Watched(layer).eval()
    BALD(passes=3).select(make_round(model=network, batch_size=32), 3)
    zeros = [(dropped == 0).float() for dropped in network.seen]  # (32, 16, 16, 16) each
    assert all((z == z[:1]).all() for z in zeros)
    always = [z[0] for z in zeros]
    assert not torch.equal(always[0], always[1]) and not torch.equal(always[1], always[2])
    shares = torch.stack([a.mean() for a in always])
    assert 0.2 < shares.mean() < 0.8
    whole = [a.flatten(1).amin(1) for a in always]
    assert all(torch.equal(a.flatten(1).amax(1), w) for a, w in zip(always, whole, strict=True)) == channels


def test_what_is_kept_is_scaled_so_that_the_mean_stays() -> None:
    layer = nn.Dropout(0.25).eval()
    with dropping([layer], seed=3):
        out = layer(torch.ones(2, 4000))
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(out[0], out[1]) and out.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(layer(torch.ones(2, 3)), torch.ones(2, 3))  # and nothing is left behind


def test_an_error_in_the_middle_leaves_the_network_as_it_was() -> None:
    layer = nn.Dropout(0.5).eval()
    with pytest.raises(ZeroDivisionError), dropping([layer], seed=0):
        1 / 0  # noqa: B018
    assert torch.equal(layer(torch.ones(1, 50)), torch.ones(1, 50))


@pytest.mark.parametrize("network", [Watched(nn.Identity()), Watched(nn.Dropout2d(0.0))])
def test_a_model_without_dropout_in_its_head_is_refused(network: Watched) -> None:
    with pytest.raises(UserError, match=r"^DBAL needs a model with dropout in its head; set its dropout$"):
        DBAL(passes=2).select(make_round(model=network.eval()), 3)


def test_dropout_among_the_features_alone_is_refused_too() -> None:
    network = Watched(nn.Identity())
    network.body.append(nn.Dropout2d(0.5))
    with pytest.raises(UserError, match="needs a model with dropout in its head"):
        BALD(passes=2).select(make_round(model=network.eval()), 3)


@pytest.mark.parametrize("model", [DRN(arch="drn_d_22"), SMP(encoder="resnet18"), SMP(arch="unet", encoder="resnet18")])
def test_the_packages_models_have_it(model: DRN | SMP) -> None:
    assert [type(layer) for layer in active_dropout(model.build(4))] == [nn.Dropout2d]


def test_one_pass_is_refused() -> None:
    with pytest.raises(UserError, match=r"^BALD.passes must be at least 2, not 1$"):
        BALD(passes=1)
