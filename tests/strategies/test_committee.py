"""Committees: who their members are, what they say, and what QBC pays for it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from rounds import make_round
from scipy import ndimage
from scipy.stats import entropy as scipy_entropy
from tiny import Squares
from torch import Tensor, nn

from seg_al import MaxPatch, TopPatches, UserError
from seg_al.round import Round
from seg_al.strategies.committee import QBC, CommitteeUncertainty, RunningMean, VariationRatio
from seg_al.strategies.labeling_cost import LabelingCost

COMMITTEES: list[CommitteeUncertainty] = [VariationRatio(members=3), QBC(members=3), QBC(members=3, cost_budget=1.0)]
every_committee = pytest.mark.parametrize("strategy", COMMITTEES, ids=["VariationRatio", "QBC", "QBC with costs"])


class Table(nn.Module):
    """A network that says what a table does: probabilities of image i, whose pixels are all i of 255."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self.table = torch.tensor(table, dtype=torch.float32)  # (images, C) or (images, C, h, w)

    def forward_features(self, x: Tensor) -> Tensor:
        return (x[:, 0, 0, 0] * 255).round().long()

    def forward_head(self, features: Tensor) -> Tensor:
        return self.table[features].log()


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each image its own number."""
    monkeypatch.setattr(Squares, "image", lambda self, index: np.full((32, 32, 3), index, np.uint8))


def round_of(tables: np.ndarray, classify: bool = False, **changes: object) -> Round:
    """Return a round whose committee is tables (N, 40, C, ...), its unlabeled pool the images 8 to 39."""
    networks = [Table(table).eval() for table in tables]
    settings: dict = {"model": networks[0], "new_member": lambda k, bootstrap: (networks[k], 1.0), **changes}
    return make_round(classify=classify, **settings)


def random_tables(members: int, *size: int, concentration: float = 0.5, classes: int = 4) -> np.ndarray:
    """Return probabilities (members, 40, classes, *size)."""
    p = np.random.default_rng(0).dirichlet(np.full(classes, concentration), (members, 40, *size))
    return np.moveaxis(p, -1, 2)


def divergence(tables: np.ndarray) -> np.ndarray:
    """Return the Jensen-Shannon divergence (40, ...) as the mean Kullback-Leibler divergence from the mean."""
    return scipy_entropy(tables, tables.mean(0, keepdims=True), axis=2).mean(0)


@pytest.mark.parametrize("members", [2, 5])
def test_the_rounds_own_model_is_a_member_and_the_others_are_trained(members: int) -> None:
    asked: list[tuple[int, bool]] = []

    def member(k: int, bootstrap: bool) -> tuple[nn.Module, float]:
        asked.append((k, bootstrap))
        return original(k, bootstrap)

    made = make_round()
    original = made.new_member
    made.new_member = member
    committee = QBC(members=members).committee(made)
    assert committee[0] is made.model and len(set(map(id, committee))) == members
    assert asked == [(k, False) for k in range(1, members)]
    QBC(members=members).score(made)
    VariationRatio(members=members).score(made)
    assert len(asked) == members - 1  # once a round
    assert made.seconds["acquisition"] == members - 1


@every_committee
@pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])
def test_members_are_left_as_they_were_and_in_eval_mode(strategy: CommitteeUncertainty, classify: bool) -> None:
    made = make_round(classify=classify)
    committee = strategy.committee(made)
    before = [{name: value.clone() for name, value in member.state_dict().items()} for member in committee]
    training: list[bool] = []
    for member in committee:
        for module in member.modules():
            module.register_forward_pre_hook(lambda module, _: training.append(module.training))
    strategy.select(made, 5)
    assert training and not any(training)
    for member, state in zip(committee, before, strict=True):
        assert not any(module.training for module in member.modules())
        assert all(torch.equal(value, state[name]) for name, value in member.state_dict().items())


@pytest.mark.usefixtures("numbered")
def test_qbc_asks_for_the_highest_mean_divergence() -> None:
    tables = random_tables(5, 3, 4)
    expected = divergence(tables).mean((1, 2))[8:]
    chosen = QBC().select(round_of(tables), 6)
    assert chosen.positions.tolist() == np.argsort(-expected)[:6].tolist()
    assert chosen.scores == pytest.approx(np.sort(expected)[::-1][:6], abs=1e-6)


@pytest.mark.usefixtures("numbered")
def test_qbc_sums_the_most_uncertain_patches_as_in_the_paper() -> None:
    tables = random_tables(3, 4, 4)
    patches = divergence(tables)[8:].reshape(32, 2, 2, 2, 2).mean((2, 4)).reshape(32, 4)
    expected = np.sort(patches, axis=1)[:, -3:].sum(1)
    scores = QBC(members=3, pixels=TopPatches(count=3, grid=2)).score(round_of(tables))
    assert scores.numpy() == pytest.approx(expected, abs=1e-6)


def test_probabilities_are_taken_at_the_resolution_asked_for() -> None:
    made = make_round()
    networks = [made.model, made.train_member(1)]
    images = torch.stack([made.unlabeled[i] for i in range(32)]).float() / 255
    with torch.no_grad():
        for resolution, size in (("logits", (16, 16)), ("input", (32, 32))):
            logits = [nn.functional.interpolate(n.forward_head(n.forward_features(images)), size, mode="bilinear")
                      for n in networks]  # fmt: skip
            p = torch.stack(logits).softmax(2).double().numpy()
            expected = scipy_entropy(p, p.mean(0, keepdims=True), axis=2).mean((0, 2, 3))
            scores = QBC(members=2, resolution=resolution).score(make_round())  # type: ignore[arg-type]
            assert scores.numpy() == pytest.approx(expected, abs=2e-6)


@pytest.mark.usefixtures("numbered")
def test_variation_ratio_counts_votes_in_whole_images_and_entropy_breaks_ties() -> None:
    tables = random_tables(5)
    tables[:, 20:] = tables[:, 19:20]  # and chance where both are alike
    votes = np.stack([(tables.argmax(2) == c).sum(0) for c in range(4)])
    ratio, h = 1 - votes.max(0) / 5, scipy_entropy(tables.mean(0), axis=1)
    assert len(np.unique(ratio[8:])) < 5
    order = np.lexsort((-h[8:].round(5), -ratio[8:].round(5)))
    ties = set(range(11, 32))
    wanted = [p for p in order if p not in ties]
    queries = []
    for seed in range(3):
        made = round_of(tables, classify=True, rng=np.random.default_rng(seed))
        chosen = VariationRatio().select(made, 32)
        assert [p for p in chosen.positions if p not in ties] == wanted
        assert chosen.scores == pytest.approx(ratio[8:][chosen.positions])
        assert (np.diff(chosen.scores) <= 0).all()
        queries.append([p for p in chosen.positions if p in ties])
    assert len(set(map(tuple, queries))) == 3 and all(set(q) == ties for q in queries)


@pytest.mark.usefixtures("numbered")
def test_variation_ratio_is_pooled_over_pixels_and_so_is_the_entropy_that_breaks_ties() -> None:
    tables = random_tables(3, 2, 2)
    tables[:, 8:24] = np.array([0.9, 0.05, 0.03, 0.02])[:, None, None]  # unanimous, and less sure in a corner
    tables[:, 8:24, :, 0, 0] = np.sort(random_tables(1)[0, 8:24], axis=1)[:, ::-1]
    votes = np.stack([(tables.argmax(2) == c).sum(0) for c in range(4)])
    ratio, h = (1 - votes.max(0) / 3).mean((1, 2))[8:], scipy_entropy(tables.mean(0), axis=1).mean((1, 2))[8:]
    assert (ratio[:16] == 0).all() and (ratio[16:] > 0).any()
    chosen = VariationRatio(members=3).select(round_of(tables), 32)
    assert chosen.positions.tolist() == np.lexsort((-h, -ratio.round(6))).tolist()
    assert chosen.scores == pytest.approx(np.sort(ratio)[::-1])
    assert VariationRatio(members=3).score(round_of(tables)).numpy() == pytest.approx(ratio)


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize("strategy", [VariationRatio(), QBC(), QBC(cost_budget=2.0)])
def test_a_diverged_member_is_named(strategy: CommitteeUncertainty) -> None:
    tables = random_tables(5)
    tables[2, 9] = np.nan
    with pytest.raises(UserError, match="1 of 32 scores are NaN"):
        strategy.select(round_of(tables, classify=True), 3)


def independent_costs(tables: np.ndarray) -> np.ndarray:
    """Return boundary sides plus components of the mean prediction's mask, (40,)."""
    masks = tables.mean(0).argmax(1)
    sides = [sum(np.count_nonzero(np.diff(mask, axis=axis)) for axis in (0, 1)) / np.sqrt(mask.size) for mask in masks]
    counts = [sum(ndimage.label(mask == c, np.ones((3, 3)))[1] for c in range(mask.max() + 1)) for mask in masks]
    return np.add(sides, counts)


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize("cost_budget", [1.0, 1.1])
def test_cost_sensitive_qbc_asks_for_the_best_query_within_the_budget(cost_budget: float) -> None:
    tables = random_tables(3, 6, 6, concentration=0.3)
    tables[:, :, 0, :3] += 1.5 * np.linspace(0, 1, 40)[None, :, None, None]  # some images are simpler
    tables /= tables.sum(2, keepdims=True)
    costs, scores = independent_costs(tables)[8:22], divergence(tables).mean((1, 2))[8:22]
    made = round_of(tables, unlabeled=list(range(8, 22)))
    chosen = QBC(members=3, cost_budget=cost_budget).select(made, 4)

    limit = cost_budget * 4 * costs.mean()
    queries = np.array(list(combinations(range(14), 4)))
    affordable = queries[costs[queries].sum(1) <= limit * (1 + 1e-9)]
    best = affordable[scores[affordable].sum(1).argmax()]
    assert costs[np.argsort(-scores)[:4]].sum() > limit  # else there is nothing to weigh
    assert sorted(chosen.positions.tolist()) == best.tolist()
    assert chosen.scores == pytest.approx(np.sort(scores[best])[::-1], abs=1e-6)
    logged = made.diagnostics["labeling_cost"]
    assert logged["pool"] == pytest.approx(costs.mean(), rel=1e-5)
    assert logged["query"] == pytest.approx(costs[best].mean(), rel=1e-5)


@pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])
def test_a_budget_that_does_not_bind_changes_nothing(classify: bool) -> None:
    plain = QBC(members=3).select(make_round(classify=classify), 6)
    costs = QBC(members=3, cost_budget=1.0 if classify else 100.0).select(make_round(classify=classify), 6)
    assert costs.positions.tolist() == plain.positions.tolist() and costs.scores.tolist() == plain.scores.tolist()


@pytest.mark.usefixtures("numbered")
def test_a_budget_that_does_not_bind_leaves_ties_to_the_same_chance() -> None:
    tables = np.full((2, 40, 3), 1 / 3)
    queries = [QBC(members=2, cost_budget=c).select(round_of(tables, classify=True), 9) for c in (None, 1.0)]
    assert queries[0].positions.tolist() == queries[1].positions.tolist()


def test_the_whole_pool_is_always_affordable() -> None:
    chosen = QBC(members=2, cost_budget=1.0).select(make_round(), 32)
    assert sorted(chosen.positions.tolist()) == list(range(32)) and (np.diff(chosen.scores) <= 0).all()


def test_settings_that_make_no_sense_are_refused() -> None:
    for strategy in (QBC, VariationRatio):
        with pytest.raises(UserError, match=rf"{strategy.__name__}\.members must be at least 2, not 1"):
            strategy(members=1)
    for cost_budget in (0.99, float("nan")):
        with pytest.raises(UserError, match=r"QBC\.cost_budget must be at least 1"):
            QBC(cost_budget=cost_budget)
    QBC(cost_budget=1.0, cost=LabelingCost(component=0.0), pixels=MaxPatch())


def test_a_round_that_cannot_train_says_so() -> None:
    with pytest.raises(UserError, match="trains a committee"):
        QBC().select(make_round(new_member=None), 3)


def test_the_running_mean_hands_on_what_passes_and_leaves_it_as_it_is() -> None:
    predictions = [torch.rand(2, 3) for _ in range(4)]
    copies = [p.clone() for p in predictions]
    mean = RunningMean()
    handed_on = list(mean.watch(predictions))
    assert all(a is b and torch.equal(b, c) for a, b, c in zip(handed_on, predictions, copies, strict=True))
    assert torch.allclose(mean.value, torch.stack(copies).mean(0))


def test_members_of_the_tiny_round_disagree() -> None:
    """The fixtures of these tests must be able to tell a committee from copies of one model."""
    made = make_round()
    assert QBC(members=3).score(made).min() > 1e-4
    made.members = {(k, False): made.model for k in (1, 2)}
    assert QBC(members=3).score(made).max() < 1e-6
