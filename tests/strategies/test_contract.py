"""What every strategy keeps: a valid, reproducible query from images alone, and networks left as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from contract import (
    SHARES,
    check_extremes,
    check_invariance,
    check_query,
    check_ranking,
    known_images,
    known_round,
)
from rounds import make_round
from scipy.stats import entropy as scipy_entropy

import seg_al
from seg_al import (
    BADGE,
    BALD,
    CDAL,
    DBAL,
    QBC,
    VAAL,
    ClassBalancedEntropy,
    CoreSet,
    DiscriminatorOnly,
    Entropy,
    FrozenVAE,
    LeastConfidence,
    Margin,
    MaxPatch,
    MCDropout,
    PowerBALD,
    PowerEntropy,
    ProbCover,
    Random,
    Replay,
    SuggestiveAnnotation,
    TopPatches,
    TopPixels,
    TypiClust,
    UserError,
    VariationRatio,
    WassersteinVAE,
)
from seg_al.strategies.base import Strategy, highest
from seg_al.strategies.disagreement import entropy

UNCERTAINTIES: list[Strategy] = [
    Entropy(),
    Entropy(resolution="input"),
    LeastConfidence(),
    Margin(),
    MCDropout(),
    MCDropout(statistic="deviation"),
    DBAL(passes=3),
    BALD(passes=3),
    VariationRatio(members=3),
    QBC(members=3),
]
INVARIANT: list[Strategy] = [  # to the order and the batches of the pool: they draw nothing for single images
    *UNCERTAINTIES,
    Entropy(pixels=TopPixels()),
    Margin(pixels=MaxPatch()),
    BALD(pixels=TopPatches()),
    QBC(members=2, cost_budget=1.0),
    ClassBalancedEntropy(),
    SuggestiveAnnotation(members=2),
    CoreSet(),
    CoreSet(cosine=True),
    CDAL(),
]
SMALL: dict[str, Any] = {"epochs": 1, "batch_size": 8}
STRATEGIES: list[Strategy] = [
    *INVARIANT,
    Random(),
    CoreSet(robust=True),
    PowerBALD(passes=3),
    PowerEntropy(),
    BADGE(),
    TypiClust(),
    ProbCover(),
    VAAL(latent=4, **SMALL),
    DiscriminatorOnly(**SMALL),
    FrozenVAE(latent=4, **SMALL),
    WassersteinVAE(latent=4, **SMALL),
]

both_tasks = pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])


def test_every_strategy_of_the_package_keeps_the_contract() -> None:
    exported = [getattr(seg_al, name) for name in seg_al.__all__]
    strategies = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Strategy)}
    # a recording knows the ids of one pool alone; its tests are in test_replay.py
    assert {type(strategy) for strategy in STRATEGIES} == strategies - {Replay}


def test_the_first_images_of_a_round() -> None:
    first = make_round(labeled=[5, 3], unlabeled=[9, 7]).first()
    assert (first.labeled.indices.tolist(), first.unlabeled.indices.tolist()) == ([5], [9])
    assert len(make_round(labeled=[]).first().labeled) == 0


@both_tasks
@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_rounds_in_which_it_can_choose_pass_its_check(strategy: Strategy, classify: bool) -> None:
    made = make_round(classify=classify)
    strategy.check(made, 8)
    strategy.select(made, 1)


@both_tasks
@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_a_query_is_valid_reproducible_and_blind_to_labels(strategy: Strategy, classify: bool) -> None:
    check_query(strategy, classify)
    assert not hasattr(make_round().unlabeled, "target")


@both_tasks
@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_one_image_and_all_images_can_be_asked_for(strategy: Strategy, classify: bool) -> None:
    check_extremes(strategy, classify)


@both_tasks
@pytest.mark.parametrize("strategy", INVARIANT, ids=repr)
def test_order_and_batching_of_the_pool_do_not_matter(strategy: Strategy, classify: bool) -> None:
    check_invariance(strategy, classify)


@pytest.mark.parametrize("strategy", UNCERTAINTIES, ids=repr)
def test_uncertain_images_come_first_over_all_pixels(strategy: Strategy) -> None:
    check_ranking(strategy)


def test_entropy_equals_scipys_and_takes_certainty() -> None:
    p = torch.tensor(np.random.default_rng(0).dirichlet(np.ones(5), (2, 3, 4))).permute(0, 3, 1, 2)
    assert torch.allclose(entropy(p), torch.tensor(scipy_entropy(p.numpy(), axis=1)))
    assert entropy(torch.tensor([[1.0, 0.0]])).item() == 0
    assert entropy(torch.full((1, 4), 0.25)).item() == pytest.approx(np.log(4))


def test_entropys_scores_are_nats_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    known_images(monkeypatch)
    chosen = Entropy().select(make_round(**known_round()), 5)
    expected = [round(32 * SHARES[8 + p]) / 32 * np.log(2) for p in chosen.positions]
    assert chosen.scores == pytest.approx(expected, abs=1e-3)


def test_random_is_uniform_and_without_replacement() -> None:
    counts = np.zeros(32)
    for seed in range(300):
        positions = Random().select(make_round(rng=np.random.default_rng(seed)), 8).positions
        assert len(set(positions.tolist())) == 8
        counts[positions] += 1
    assert counts.min() > 40 and counts.max() < 115  # 75 expected, standard deviation 7.5


def test_the_highest_scores_come_first_and_ties_fall_by_chance() -> None:
    scores = np.array([0.0, 3.0, 1.0, 1.0, 1.0, 2.0])
    first = highest(scores, 2, np.random.default_rng(0))
    assert first.positions.tolist() == [1, 5] and first.scores.tolist() == [3.0, 2.0]
    third = {int(highest(scores, 3, np.random.default_rng(seed)).positions[2]) for seed in range(40)}
    assert third == {2, 3, 4}
    with pytest.raises(UserError, match="1 of 2 scores are NaN"):
        highest(np.array([1.0, np.nan]), 1, np.random.default_rng(0))


def test_map_gives_one_row_an_image_in_order() -> None:
    made = make_round(batch_size=5)
    rows = made.map(lambda x: x.flatten(1).mean(1), made.unlabeled)
    expected = [made.unlabeled.image(p).mean() / 255 for p in range(32)]
    assert rows.tolist() == pytest.approx(expected, abs=1e-5)
