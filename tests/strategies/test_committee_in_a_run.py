"""Committees in the real loop: members that differ, see what they should, and survive an interruption."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import Squares, TinyModel, parameters_equal, tiny_experiment

from seg_al import Experiment, Random, Train
from seg_al.phase import Phase
from seg_al.round import Round
from seg_al.strategies.base import Selection, Strategy
from seg_al.strategies.committee import QBC
from seg_al.strategies.suggestive import SuggestiveAnnotation

TRAININGS = {"QBC": ["member1", "member2"], "SuggestiveAnnotation": ["bootstrap0", "bootstrap1"]}
both_kinds = pytest.mark.parametrize("strategy", [QBC(members=3), SuggestiveAnnotation(members=2)],
                                     ids=list(TRAININGS))  # fmt: skip


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures, which take longer than all else here."""
    for place in ("plot_curve", "_Loop.show_predictions", "_Loop.show_query"):
        monkeypatch.setattr(f"seg_al.experiment.{place}", lambda *_, **__: None)


def results(run: Path) -> dict[str, str]:
    """Return what was labeled and asked for in each round."""
    files = [*run.glob("rounds/*/labeled.txt"), *run.glob("rounds/*/query.csv")]
    return {str(file.relative_to(run)): file.read_text() for file in files}


def weights(run: Path, number: int) -> torch.nn.Module:
    """Return the task model of a round."""
    network = TinyModel().build(3)
    network.load_state_dict(torch.load(run / "rounds" / f"{number:02d}" / "model.pt", weights_only=True))
    return network


@both_kinds
def test_killed_while_the_last_member_trains_it_goes_on_to_the_same_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    monkeypatch.setattr("seg_al.phase.SAVE_EVERY_SECONDS", 0.0)
    *done, last = TRAININGS[type(strategy).__name__]

    def experiment(folder: str) -> Experiment:
        return tiny_experiment(tmp_path / folder, strategy=strategy, rounds=2)

    whole = results(experiment("whole").run())
    assert len(whole) == 3 and "rounds/00/query.csv" in whole
    original = Phase.step
    steps: Counter[str] = Counter()
    killing_at = 0

    def counting(self: Phase, **values: torch.Tensor) -> None:
        if self.key[1] == 0:  # in round 0
            steps[self.name] += 1
            if self.name == last and steps[last] == killing_at:
                raise KeyboardInterrupt
        original(self, **values)

    monkeypatch.setattr(Phase, "step", counting)
    for step in (1, 2):  # two epochs of one step: after no epoch, and after one
        killing_at = step
        with pytest.raises(KeyboardInterrupt):
            experiment(f"killed{step}").run()
        assert all(steps[name] == 2 for name in done)
        killing_at = 0
        steps.clear()
        assert results(experiment(f"killed{step}").run()) == whole
        assert steps == {last: 3 - step}  # nothing but what was left
        steps.clear()


COMMITTEES: list[list[torch.nn.Module]] = []


class SeenQBC(QBC):
    """QBC whose committees can be looked at."""

    def committee(self, round: Round) -> list[torch.nn.Module]:
        """Return the members."""
        COMMITTEES.append(super().committee(round))
        return COMMITTEES[-1]


class SeenSuggestiveAnnotation(SuggestiveAnnotation):
    """Suggestive annotation whose committees can be looked at."""

    def committee(self, round: Round) -> list[torch.nn.Module]:
        """Return the members."""
        COMMITTEES.append(super().committee(round))
        return COMMITTEES[-1]


@pytest.mark.parametrize(
    "strategy", [SeenQBC(members=3), SeenSuggestiveAnnotation(members=3)], ids=["QBC", "SuggestiveAnnotation"]
)
def test_members_differ_from_their_initial_weights_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    COMMITTEES.clear()
    starts: list[float] = []
    begin = Phase.begin

    def beginning(self: Phase, *args: object, network: torch.nn.Module, **state: object) -> None:
        starts.append(next(network.parameters()).sum().item())
        begin(self, *args, network=network, **state)  # type: ignore[arg-type]

    monkeypatch.setattr(Phase, "begin", beginning)
    monkeypatch.setattr("seg_al.experiment.rehearse", lambda *_: None)
    run = tiny_experiment(tmp_path, strategy=strategy).run()
    assert len(results(run)) == 5 and not list(run.glob("rounds/*/*.ckpt"))
    networks = [network for committee in COMMITTEES for network in committee]
    assert len(networks) == 6
    assert len(set(starts)) == len(starts) == (3 + 2 * 2 if isinstance(strategy, QBC) else 3 + 2 * 3)
    assert not any(parameters_equal(a, b) for i, a in enumerate(networks) for b in networks[:i])
    for number, committee in enumerate(COMMITTEES):
        own = [parameters_equal(member, weights(run, number)) for member in committee]
        assert own == ([True, False, False] if isinstance(strategy, QBC) else [False] * 3)
        assert not any(module.training for member in committee for module in member.modules())


@both_kinds
def test_members_see_all_labeled_images_once_an_epoch_or_a_resample_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    seen: dict[tuple[int, str], Counter[str]] = {}
    begin, target = Phase.begin, Squares.target

    def beginning(self: Phase, *args: object, **state: object) -> None:
        seen[int(self.key[1]), self.name] = Counter()
        begin(self, *args, **state)  # type: ignore[arg-type]

    def reading(self: Squares, index: int) -> np.ndarray:
        if seen and self.ids[index].startswith("train"):  # by the training that began last
            seen[list(seen)[-1]][self.ids[index]] += 1
        return target(self, index)

    monkeypatch.setattr(Phase, "begin", beginning)
    monkeypatch.setattr(Squares, "target", reading)
    run = tiny_experiment(  # an epoch is one batch of all labeled images
        tmp_path, strategy=strategy, initial=24, rounds=2, train=Train(epochs=1, batch_size=24, lr=1e-2)
    ).run()
    labeled = Counter((run / "rounds" / "00" / "labeled.txt").read_text().split())
    with open(run / "rounds" / "00" / "query.csv", newline="") as query:
        for row in csv.DictReader(query):  # read when they were labeled, after the last training
            for counter in (seen[key] for key in seen if key[0] == 0):
                del counter[row["id"]]
    assert seen[0, "train"] == labeled and seen[1, "train"].total() == 48  # 27, in two batches
    one, other = (seen[0, name] for name in TRAININGS[type(strategy).__name__])
    if isinstance(strategy, QBC):
        assert one == other == labeled
    else:
        assert one != other
        for resample in (one, other):
            assert resample.total() == 24 and resample.keys() < labeled.keys()
            assert 10 <= len(resample) <= 20  # 24 (1 - (1 - 1/24)^24) = 15.4 expected, standard deviation 1.5


class Idle(Random):
    """Random sampling that trains a committee and does not look at it."""

    def select(self, round: Round, budget: int) -> Selection:
        """Return `budget` distinct positions drawn uniformly."""
        for k in range(2):
            round.train_member(k)
            round.train_member(k, bootstrap=True)
        return super().select(round, budget)


def test_a_committee_changes_neither_the_task_model_nor_the_query(tmp_path: Path) -> None:
    runs = [tiny_experiment(tmp_path, name=type(s).__name__, strategy=s, rounds=2).run() for s in (Random(), Idle())]
    assert results(runs[0]) == results(runs[1])
    for number in range(2):
        assert parameters_equal(weights(runs[0], number), weights(runs[1], number))
