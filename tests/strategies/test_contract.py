"""What every strategy keeps: a valid, reproducible query from images alone, and networks left as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rounds import make_round
from scipy.stats import entropy as scipy_entropy
from tiny import Squares
from torch import Tensor, nn

from seg_al import BALD, DBAL, VAAL, Entropy, LeastConfidence, Margin, MCDropout, Random, UserError
from seg_al.strategies.base import Strategy, highest
from seg_al.strategies.disagreement import entropy

INVARIANT: list[Strategy] = [  # to the order and the batches of the pool: they draw nothing for single images
    Entropy(),
    LeastConfidence(),
    Margin(),
    MCDropout(passes=3),
    MCDropout(passes=3, statistic="deviation"),
    DBAL(passes=3),
    BALD(passes=3),
]
STRATEGIES: list[Strategy] = [*INVARIANT, Random(), VAAL(latent=4, epochs=1, batch_size=8)]

both_tasks = pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])


@both_tasks
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_a_query_is_valid_reproducible_and_blind_to_labels(
    strategy: Strategy, classify: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise AssertionError("a strategy read a label")

    monkeypatch.setattr(Squares, "target", unreachable)
    selections = []
    for disturbance in (0, 1):
        torch.manual_seed(disturbance)  # the global streams are not the strategy's
        np.random.seed(disturbance)  # noqa: NPY002
        round = make_round(classify=classify)
        weights = {k: v.clone() for k, v in round.model.state_dict().items()}
        selections.append(strategy.select(round, 6))
        assert not any(module.training for module in round.model.modules())
        assert all(torch.equal(v, weights[k]) for k, v in round.model.state_dict().items())
    first, second = selections
    assert first.positions.shape == first.scores.shape == (6,)
    assert len(set(first.positions.tolist())) == 6 and 0 <= first.positions.min() and first.positions.max() < 32
    assert first.positions.tolist() == second.positions.tolist()
    assert not hasattr(make_round().unlabeled, "target")


@both_tasks
@pytest.mark.parametrize("strategy", INVARIANT, ids=lambda s: type(s).__name__)
def test_order_and_batching_of_the_pool_do_not_matter(strategy: Strategy, classify: bool) -> None:
    order = np.random.default_rng(0).permutation(np.arange(8, 40)).tolist()
    rounds = [
        make_round(classify=classify),
        make_round(unlabeled=order, batch_size=7, classify=classify),
        make_round(batch_size=32, classify=classify),
    ]
    queries = [
        dict(zip([r.unlabeled.ids[p] for p in s.positions], s.scores, strict=True))
        for r, s in ((r, strategy.select(r, 6)) for r in rounds)
    ]
    assert queries[0].keys() == queries[1].keys() == queries[2].keys()
    assert all(queries[0][k] == pytest.approx(queries[1][k], abs=1e-5) for k in queries[0])


def test_entropy_equals_scipys_and_takes_certainty() -> None:
    p = torch.tensor(np.random.default_rng(0).dirichlet(np.ones(5), (2, 3, 4))).permute(0, 3, 1, 2)
    assert torch.allclose(entropy(p), torch.tensor(scipy_entropy(p.numpy(), axis=1)))
    assert entropy(torch.tensor([[1.0, 0.0]])).item() == 0
    assert entropy(torch.full((1, 4), 0.25)).item() == pytest.approx(np.log(4))


class Known(nn.Module):
    """A network whose uncertainty is the red channel: logits 0 where it is 1, far apart where it is 0."""

    def forward_features(self, x: Tensor) -> Tensor:
        return x[:, :1]

    def forward_head(self, features: Tensor) -> Tensor:
        return torch.cat([20 * (1 - features), torch.zeros_like(features)], 1)


def test_entropy_asks_for_the_uncertain_images_over_all_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = np.random.default_rng(0).permutation(40) / 40  # share of uncertain pixels, by image

    def image(self: Squares, index: int) -> np.ndarray:
        picture = np.zeros((32, 32, 3), np.uint8)
        picture[: round(32 * shares[index]), :, 0] = 255  # rows the ground truth calls void are among them
        return picture

    monkeypatch.setattr(Squares, "image", image)
    made = make_round(model=Known().eval())
    chosen = Entropy().select(made, 5)
    wanted = np.argsort(-shares[8:])[:5]
    assert chosen.positions.tolist() == wanted.tolist()
    expected = [round(32 * shares[8 + p]) / 32 * np.log(2) for p in wanted]
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
