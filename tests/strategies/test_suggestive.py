"""Suggestive annotation: the lazy greedy against looking at every candidate, and what it is fed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rounds import make_round
from tiny import Squares
from torch import Tensor, nn

from seg_al import UserError
from seg_al.round import Round
from seg_al.strategies import suggestive
from seg_al.strategies.suggestive import SuggestiveAnnotation, most_representative


def check_greedy(
    chosen: list[int], gains: np.ndarray, similarity: np.ndarray, candidates: list[int], tolerance: float
) -> None:
    """Check that each choice adds the most to F(S) = Σ_j max(0, max_{i∈S} similarity[i, j]), from F's definition.

    Two candidates that cover just themselves and each other add the same: which is taken is a matter of rounding.
    """

    def f(of: list[int]) -> float:
        return np.maximum(0, similarity[of].max(0)).sum() if of else 0.0

    assert len(set(chosen)) == len(chosen) and set(chosen) <= set(candidates)
    for k, (choice, gain) in enumerate(zip(chosen, gains, strict=True)):
        before = chosen[:k]
        added = {c: f([*before, c]) - f(before) for c in candidates if c not in before}
        assert added[choice] == pytest.approx(max(added.values()), abs=tolerance)
        assert gain == pytest.approx(added[choice], abs=tolerance)
    assert (np.diff(gains) <= tolerance).all()


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("sign", ["positive", "either"])
@pytest.mark.parametrize("seed", range(5))
def test_lazy_greedy_equals_looking_at_every_candidate(seed: int, sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestive, "FEW", 1 + seed)
    monkeypatch.setattr(suggestive, "MANY", 3 + seed)
    monkeypatch.setattr(suggestive, "POOL_BLOCK", 7)
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, 6)) + (1.0 if sign == "positive" else 0.0)
    rows = unit(np.maximum(rows, 0) if sign == "positive" else rows)
    candidates = rng.permutation(60)[:25]
    chosen, gains = most_representative(torch.tensor(rows), candidates, 20)
    assert len(chosen) == 20
    check_greedy(chosen.tolist(), gains, rows @ rows.T, candidates.tolist(), 1e-12)


def test_all_candidates_may_be_chosen_and_those_that_add_nothing_come_in_their_order() -> None:
    rows = torch.eye(4)[[0, 0, 1, 2, 2, 2, 3]]  # groups of alike images, of 2, 1, 3 and 1
    chosen, gains = most_representative(rows, np.array([6, 1, 5, 0, 2, 4]), 6)
    assert chosen.tolist() == [5, 1, 6, 2, 0, 4]
    assert gains.tolist() == [3, 2, 1, 1, 0, 0]


def test_candidates_are_measured_by_the_whole_pool_not_by_each_other() -> None:
    rows = torch.eye(3)[[0, 1, 1, 2, 2, 2, 2]]
    chosen, gains = most_representative(rows, np.array([0, 1, 3]), 2)
    assert chosen.tolist() == [3, 1] and gains.tolist() == [4, 2]


def test_few_candidates_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    original = suggestive._gains

    def counted(descriptors: Tensor, covered: Tensor, candidates: Tensor) -> Tensor:
        nonlocal looked_at
        looked_at += len(candidates)
        return original(descriptors, covered, candidates)

    monkeypatch.setattr(suggestive, "_gains", counted)
    rng = np.random.default_rng(0)
    centers = rng.random((20, 16))
    rows = unit(np.maximum(0, centers[rng.integers(0, 20, 600)] + 0.3 * rng.normal(size=(600, 16))))
    most_representative(torch.tensor(rows), rng.permutation(600)[:200], 100)
    assert looked_at < 0.25 * sum(200 - picked for picked in range(100))


class Known(nn.Module):
    """A network of which image i (whose pixels are all i of 255) has known probabilities and deepest map."""

    def __init__(self, probabilities: np.ndarray, deepest: np.ndarray) -> None:
        super().__init__()
        self.probabilities = torch.tensor(probabilities, dtype=torch.float32)  # (images, C, ...)
        self.deepest = torch.tensor(deepest, dtype=torch.float32)  # (images, E, h, w)
        self.passes = 0

    def forward_features(self, x: Tensor) -> Tensor:
        return self.forward_both(x)[1]

    def forward_both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.passes += 1
        numbers = (x[:, 0, 0, 0] * 255).round().long()
        return self.deepest[numbers], numbers

    def forward_head(self, features: Tensor) -> Tensor:
        return self.probabilities[features].log()


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each image its own number."""
    monkeypatch.setattr(Squares, "image", lambda self, index: np.full((32, 32, 3), index, np.uint8))


def known_round(members: int, classify: bool = False) -> tuple[Round, np.ndarray, np.ndarray, list[Known]]:
    """Return a round, its members' probabilities (N, 40, C, ...) and deepest maps (N, 40, E, h, w), and they."""
    rng = np.random.default_rng(0)
    size = () if classify else (3, 4)
    p = np.moveaxis(rng.dirichlet(np.ones(3), (members, 40, *size)), -1, 2)
    deepest = rng.normal(size=(members, 40, 5, 2, 2)) + 0.3
    networks = [Known(p[k], deepest[k]).eval() for k in range(members)]
    asked: list[int] = []

    def member(k: int, bootstrap: bool) -> tuple[nn.Module, float]:
        assert bootstrap and k not in asked
        asked.append(k)
        return networks[k], 1.0

    # the round's own model saw all of the labeled pool: it is none of the members, and may not be asked
    return make_round(model=nn.Module(), new_member=member, classify=classify), p, deepest, networks


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])
@pytest.mark.parametrize(("members", "budget", "candidates"), [(2, 5, 2.0), (5, 6, 1.05), (3, 7, 1.0)])
def test_of_the_most_uncertain_images_those_that_represent_the_pool(
    members: int, budget: int, candidates: float, classify: bool
) -> None:
    made, p, deepest, networks = known_round(members, classify)
    uncertainty = p.var(0).sum(1).reshape(40, -1).mean(1)[8:]
    descriptors = unit(deepest.mean((3, 4)))[:, 8:]
    similarity = np.mean([d @ d.T for d in descriptors], axis=0)
    count = {5: 10, 6: 7, 7: 7}[budget]  # K, rounded up
    uncertain = np.argsort(-uncertainty)[:count].tolist()

    chosen = SuggestiveAnnotation(members=members, candidates=candidates).select(made, budget)
    assert len(chosen.positions) == budget
    check_greedy(chosen.positions.tolist(), chosen.scores, similarity, uncertain, 1e-4)
    assert [network.passes for network in networks] == [8] * members  # one over the 8 batches of the pool
    scores = SuggestiveAnnotation(members=members).score(made)
    assert scores.numpy() == pytest.approx(uncertainty, rel=1e-4)


@pytest.mark.parametrize("classify", [False, True], ids=["segmentation", "classification"])
def test_members_are_left_as_they_were_and_in_eval_mode(classify: bool) -> None:
    made = make_round(classify=classify)
    committee = SuggestiveAnnotation(members=3).committee(made)
    assert len(set(map(id, [made.model, *committee]))) == 4
    before = [{name: value.clone() for name, value in member.state_dict().items()} for member in committee]
    training: list[bool] = []
    for member in committee:
        for module in member.modules():
            module.register_forward_pre_hook(lambda module, _: training.append(module.training))
    SuggestiveAnnotation(members=3).select(made, 5)
    assert training and not any(training)
    for member, state in zip(committee, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in member.state_dict().items())


@pytest.mark.parametrize("budget", [1, 20, 32])
def test_candidates_end_with_the_pool(budget: int) -> None:
    chosen = SuggestiveAnnotation(members=2, candidates=3.0).select(make_round(), budget)
    assert len(chosen.positions) == len(set(chosen.positions.tolist())) == len(chosen.scores) == budget
    assert chosen.positions.dtype == np.int64 and np.isfinite(chosen.scores).all()


def test_the_order_and_the_batches_of_the_pool_do_not_matter() -> None:
    order = np.random.default_rng(0).permutation(np.arange(8, 40)).tolist()
    queries = []
    for made in (make_round(), make_round(unlabeled=order, batch_size=7)):
        chosen = SuggestiveAnnotation(members=2).select(made, 6)
        queries.append({made.unlabeled.ids[p]: s for p, s in zip(chosen.positions, chosen.scores, strict=True)})
    assert queries[0] == pytest.approx(queries[1], abs=1e-5)  # sums of 32 cosines near 1, in single precision


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match=r"SuggestiveAnnotation\.members must be at least 2, not 1"):
        SuggestiveAnnotation(members=1)
    for candidates in (0.5, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"SuggestiveAnnotation\.candidates must be at least 1"):
            SuggestiveAnnotation(candidates=candidates)
