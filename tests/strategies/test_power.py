"""Power acquisition: sampling without replacement in proportion to a power of the scores."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from rounds import make_round
from scipy.stats import chisquare

from seg_al import BALD, Entropy, TopPixels, UserError
from seg_al.round import Round
from seg_al.strategies.base import highest
from seg_al.strategies.power import PowerBALD, PowerEntropy, perturbed


class Given(PowerEntropy):
    """Power entropy of given scores."""

    scores: tuple[float, ...]

    def score(self, round: Round) -> torch.Tensor:
        return torch.tensor(self.scores)


SCORES = (0.1, 0.2, 0.3, 0.6)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_images_are_drawn_without_replacement_in_proportion_to_a_power_of_their_scores(beta: float) -> None:
    runs = 4000
    rng = np.random.default_rng(0)
    made = make_round(rng=rng)
    strategy = Given(scores=SCORES, beta=beta)
    seen = Counter(tuple(strategy.select(made, 2).positions.tolist()) for _ in range(runs))
    weights = np.array(SCORES) ** beta
    pairs = list(permutations(range(4), 2))
    expected = [weights[i] / weights.sum() * weights[j] / (weights.sum() - weights[i]) for i, j in pairs]
    assert sum(expected) == pytest.approx(1)
    assert chisquare([seen[pair] for pair in pairs], [runs * p for p in expected]).pvalue > 0.001
    firsts = [sum(seen[pair] for pair in pairs if pair[0] == i) for i in range(4)]
    assert chisquare(firsts, runs * weights / weights.sum()).pvalue > 0.001


def test_images_of_score_0_come_last_and_in_random_order() -> None:
    made = make_round(rng=np.random.default_rng(0))
    strategy = Given(scores=(0.0, 0.3, 0.0, 1e-30, 0.0))
    third = Counter[int]()
    for _ in range(60):
        chosen = strategy.select(made, 3)
        assert set(chosen.positions[:2].tolist()) == {1, 3}
        assert np.isfinite(chosen.scores[:2]).all() and chosen.scores[2] == -np.inf
        third[int(chosen.positions[2])] += 1
    assert third.keys() == {0, 2, 4} and min(third.values()) > 8
    assert len(set(Given(scores=(0.0,) * 5).select(made, 5).positions.tolist())) == 5


def test_scores_are_perturbed_logarithms_and_rank_the_query() -> None:
    scores = np.exp(np.linspace(-2, 1, 20_000))
    for beta in (1.0, 4.0):
        noise = beta * (perturbed(scores, beta, np.random.default_rng(0)) - np.log(scores))
        assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.03)  # of a standard Gumbel distribution
        assert noise.std() == pytest.approx(np.pi / np.sqrt(6), abs=0.03)
    made = make_round()
    chosen = PowerEntropy().select(made, 32)
    assert np.all(np.diff(chosen.scores) <= 0)
    noise = chosen.scores - np.log(Entropy().score(make_round()).numpy()[chosen.positions])
    assert noise.std() > 0.5
    assert made.seconds.keys() == {"score", "select"}


@pytest.mark.parametrize(
    ("power", "plain"),
    [
        (PowerBALD(passes=4, beta=float("inf"), pixels=TopPixels()), BALD(passes=4, pixels=TopPixels())),
        (PowerEntropy(beta=float("inf"), pixels=TopPixels()), Entropy(pixels=TopPixels())),
    ],
    ids=["BALD", "entropy"],
)
@pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])
def test_an_infinite_beta_asks_for_the_highest_scores(power: PowerEntropy, plain: Entropy, classify: bool) -> None:
    got = power.select(make_round(classify=classify), 6)
    expected = highest(plain.score(make_round(classify=classify)).double().numpy(), 6, np.random.default_rng(0))
    assert got.positions.tolist() == expected.positions.tolist()
    assert np.exp(got.scores) == pytest.approx(expected.scores)


def test_settings_are_checked() -> None:
    for beta in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match=r"PowerEntropy\.beta must be above 0"):
            PowerEntropy(beta=beta)
        with pytest.raises(UserError, match=r"PowerBALD\.beta must be above 0"):
            PowerBALD(beta=beta)
    with pytest.raises(UserError, match=r"PowerBALD\.passes must be at least 2"):
        PowerBALD(passes=1)
