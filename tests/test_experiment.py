"""The loop: what it leaves on disk, how it resumes, what it refuses."""

from __future__ import annotations

import csv
import importlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import MixedScenes, Squares, TinyModel, TinyScenes, parameters_equal, tiny_experiment

from seg_al import (
    SMP,
    VAAL,
    Entropy,
    Experiment,
    FileInitial,
    FrozenFeatures,
    Random,
    Replay,
    Train,
    TypiClust,
    UserError,
    load,
)
from seg_al.experiment import check_selection
from seg_al.machine import Machine
from seg_al.phase import Phase
from seg_al.run_directory import RunDirectory
from seg_al.strategies.base import Selection, Strategy

TINY_VAAL = VAAL(latent=4, epochs=1, batch_size=8)


def results(run: Path) -> dict[str, object]:
    """Return everything a run found, timings aside."""
    found: dict[str, object] = {}
    for file in sorted(run.glob("rounds/*/*")):
        if file.suffix in (".csv", ".txt"):
            found[str(file.relative_to(run))] = file.read_text(encoding="utf-8")
    with open(run / "curve.csv", encoding="utf-8") as lines:
        found["curve"] = [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(lines)]
    return found


def test_a_run_leaves_the_published_format(tmp_path: Path) -> None:
    run = tiny_experiment(tmp_path, strategy=TINY_VAAL).run()
    assert run == tmp_path / "tiny" / "seed0"
    state = json.loads((run / "state.json").read_text())
    assert (state["round"], state["phase"], len(state["labeled"])) == (2, "done", 10)
    environment = json.loads((run / "environment.json").read_text())
    assert torch.__version__.startswith(environment[0]["versions"]["torch"]) and environment[0]["command"]
    for number, labeled in enumerate((4, 7, 10)):
        folder = run / "rounds" / f"{number:02d}"
        ids = (folder / "labeled.txt").read_text().split()
        assert len(ids) == len(set(ids)) == labeled
        metrics = json.loads((folder / "metrics.json").read_text())
        assert (metrics["round"], metrics["labeled"], metrics["fraction"]) == (number, labeled, labeled / 40)
        assert set(metrics["test"]["IoU"]) == {"background", "red", "green"}
        assert 0 <= metrics["test"]["mIoU"] <= 1
        assert {"train", "acquisition", "score", "select"} <= metrics["seconds"].keys()
        TinyModel().build(3).load_state_dict(torch.load(folder / "model.pt", weights_only=True))
        assert not list(folder.glob("*.ckpt")) and not list(folder.glob("*.tmp"))
        if number < 2:
            rows = list(csv.DictReader((folder / "query.csv").open()))
            assert [row["rank"] for row in rows] == ["1", "2", "3"]
            scores = [float(row["score"]) for row in rows]
            assert scores == sorted(scores, reverse=True)
            queried = {row["id"] for row in rows}
            assert not queried & set(ids)
            assert set((run / "rounds" / f"{number + 1:02d}" / "labeled.txt").read_text().split()) == queried | set(ids)
            assert metrics["diagnostics"]["vaal"]["latent"] == 4
        else:
            assert not (folder / "query.csv").exists()
    curve = list(csv.DictReader((run / "curve.csv").open()))
    assert [row["labeled"] for row in curve] == ["4", "7", "10"]
    assert (run / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_tensorboard_shows_the_curve_the_diagnostics_and_the_pictures(tmp_path: Path) -> None:
    run = tiny_experiment(tmp_path, strategy=TINY_VAAL).run()
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    assert [event.step for event in events.Scalars("test/mIoU")] == [4, 7, 10]
    mious = [json.loads(file.read_text())["test"]["mIoU"] for file in sorted(run.glob("rounds/*/metrics.json"))]
    assert [event.value for event in events.Scalars("test/mIoU")] == pytest.approx(mious)
    assert {"test/IoU/red", "train/loss", "vaal/active_units", "vaal/auc", "train/vaal/discriminator"} <= set(
        tags["scalars"]
    )
    assert {"query", "test/predictions", "vaal/reconstructions"} <= set(tags["images"])
    assert [event.step for event in events.Images("query")] == [4, 7]


def test_a_finished_run_says_so_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_experiment(tmp_path).run()
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and "rounds" in file.parts}
    tiny_experiment(tmp_path).run()
    assert "this run is finished" in capsys.readouterr().out
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and "rounds" in file.parts}


def test_the_same_seed_repeats_a_run_and_another_does_not(tmp_path: Path) -> None:
    same = [results(tiny_experiment(tmp_path / str(k), strategy=TINY_VAAL).run()) for k in range(2)]
    other = results(tiny_experiment(tmp_path, strategy=TINY_VAAL, seed=1).run())
    assert same[0] == same[1] != other


def test_strategies_share_start_and_first_model(tmp_path: Path) -> None:
    runs = [
        tiny_experiment(tmp_path, name=type(strategy).__name__, strategy=strategy).run()
        for strategy in (Random(), Entropy(), TINY_VAAL)
    ]
    first = [run / "rounds" / "00" for run in runs]
    assert len({(folder / "labeled.txt").read_text() for folder in first}) == 1
    networks = [TinyModel().build(3) for _ in runs]
    for network, folder in zip(networks, first, strict=True):
        network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    assert all(parameters_equal(networks[0], network) for network in networks[1:])
    assert len({(folder / "query.csv").read_text() for folder in first}) == 3


def test_the_saved_config_repeats_the_run(tmp_path: Path) -> None:
    run = tiny_experiment(tmp_path / "a", strategy=Entropy()).run()
    config = load(run / "config.py", ["--machine.output", str(tmp_path / "b")])
    assert results(config.run()) == results(run)


class Killed(BaseException):
    pass


WRITES = ["state.json", "labeled.txt", "metrics.json", "query.csv"]


@pytest.mark.parametrize("moment", range(16))
def test_killed_between_any_two_writes_it_goes_on_to_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    def experiment(folder: str) -> Experiment:
        return tiny_experiment(tmp_path / folder, strategy=TINY_VAAL, rounds=2)

    whole = results(experiment("whole").run())
    original, count = RunDirectory.write, 0

    def write(self: RunDirectory, name: object, content: object) -> None:
        nonlocal count
        count += 1
        if count == moment + 2:  # the first write is environment.json's
            raise Killed
        original(self, name, content)  # type: ignore[arg-type]

    monkeypatch.setattr(RunDirectory, "write", write)
    with pytest.raises(Killed):
        experiment("killed").run()
    monkeypatch.setattr(RunDirectory, "write", original)
    assert results(experiment("killed").run()) == whole


@pytest.mark.parametrize("step", [1, 3, 5, 7])
def test_killed_inside_a_training_it_goes_on_to_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr("seg_al.phase.SAVE_EVERY_SECONDS", 0.0)

    def experiment(folder: str) -> Experiment:
        return tiny_experiment(tmp_path / folder, strategy=TINY_VAAL, rounds=2)

    whole = results(experiment("whole").run())
    original, count = Phase.step, 0

    def killing(self: Phase, **values: torch.Tensor) -> None:
        nonlocal count
        count += 1
        if count == step:
            raise Killed
        original(self, **values)

    monkeypatch.setattr(Phase, "step", killing)
    with pytest.raises(Killed):
        experiment("killed").run()
    monkeypatch.setattr(Phase, "step", original)
    assert results(experiment("killed").run()) == whole


def test_a_strategy_cannot_reach_labels_of_the_unlabeled_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    original = Squares.target

    def target(self: Squares, index: int) -> np.ndarray:
        reads.append(self.ids[index])
        return original(self, index)

    monkeypatch.setattr(Squares, "target", target)
    monkeypatch.setattr(Experiment, "_preflight", lambda self: None)  # which reads all labels
    run = tiny_experiment(tmp_path, strategy=TINY_VAAL, rounds=2).run()
    labeled = set((run / "rounds" / "01" / "labeled.txt").read_text().split())
    assert {name for name in reads if name.startswith("train")} == labeled
    assert set(reads) - labeled == set(TinyScenes().samples("test").ids)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds is 0; an experiment needs at least 1"),
        ({"budget": 0}, "budget is 0"),
        ({"initial": 41}, "initial is 41, but the pool holds 40"),
        ({"budget": 19}, "4 initial + 2 queries of 19 are 42 images, but the pool holds 40; lower budget to 18"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_counts_leave_no_run_behind(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("+", r"\+")):
        tiny_experiment(tmp_path / "runs", **changes).run()
    assert not (tmp_path / "runs").exists()


def test_the_whole_pool_may_be_labeled(tmp_path: Path) -> None:
    run = tiny_experiment(tmp_path, budget=18).run()
    assert len((run / "rounds" / "02" / "labeled.txt").read_text().split()) == 40


def test_another_config_on_a_run_is_refused_with_the_difference(tmp_path: Path) -> None:
    tiny_experiment(tmp_path, rounds=1).run()
    with pytest.raises(UserError) as error:
        tiny_experiment(tmp_path, rounds=1, budget=5, train=Train(epochs=3, batch_size=4, lr=1e-2)).run()
    for part in ("other settings", "- budget=3", "+ budget=5", "- epochs=2", "+ epochs=3", "--name"):
        assert part in str(error.value), part
    assert "rounds" not in str(error.value) and "\n" not in str(error.value)


def test_the_machine_may_change_when_a_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = tiny_experiment(tmp_path, rounds=1)
    experiment.run()
    machine = type(experiment.machine)(output=str(tmp_path), accelerator="cpu", workers=1)
    tiny_experiment(tmp_path, rounds=1, machine=machine).run()
    assert "finished" in capsys.readouterr().out


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    experiment = tiny_experiment(tmp_path)
    first = RunDirectory(experiment.directory)
    first.open(experiment)
    with pytest.raises(UserError, match="another process is working on this run"):
        experiment.run()
    first.close()
    experiment.run()


def test_a_folder_that_cannot_be_a_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the run directory"):
        tiny_experiment(tmp_path / "file").run()
    (tmp_path / "tiny" / "seed0").mkdir(parents=True)
    (tmp_path / "tiny" / "seed0" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="holds files but no run"):
        tiny_experiment(tmp_path).run()


def test_a_damaged_model_or_state_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(Random, "select", fails)
    with pytest.raises(Killed):
        tiny_experiment(tmp_path).run()
    monkeypatch.undo()
    run = tmp_path / "tiny" / "seed0"
    model = run / "rounds" / "00" / "model.pt"
    whole = model.read_bytes()
    model.write_bytes(whole[:100])
    with pytest.raises(UserError, match=r"model\.pt: damaged .* delete it to repeat that step"):
        tiny_experiment(tmp_path).run()
    model.unlink()
    (model.parent / ".train.ckpt.4711").write_bytes(b"")  # of a process killed as it wrote
    (run / "environment.json").write_text("")
    monkeypatch.setattr(Random, "select", fails)
    with pytest.raises(Killed):
        tiny_experiment(tmp_path).run()
    monkeypatch.undo()
    sound = {name: value.tolist() for name, value in torch.load(io.BytesIO(whole)).items()}
    assert {name: value.tolist() for name, value in torch.load(model).items()} == sound
    state = (run / "state.json").read_text()
    (run / "state.json").write_text(state[:50])
    with pytest.raises(UserError, match=r"state\.json: damaged"):
        tiny_experiment(tmp_path).run()
    (run / "state.json").write_text(state)
    tiny_experiment(tmp_path).run()
    assert not list(run.glob("rounds/*/.*"))


def test_a_damaged_curve_of_another_run_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tiny_experiment(tmp_path, name="other", strategy=Entropy()).run()
    (other / "curve.csv").write_text("")
    run = tiny_experiment(tmp_path).run()
    assert "note: curve.png is not drawn: cannot read" in capsys.readouterr().out and (run / "curve.csv").exists()


def test_another_run_that_cannot_be_read_and_a_machine_without_git_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "seed0"
    other.mkdir(parents=True)
    (other / "config.py").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("PATH", str(tmp_path))
    run = tiny_experiment(tmp_path, rounds=1).run()
    assert json.loads((run / "environment.json").read_text())[0]["commit"] is None
    assert (run / "curve.png").exists()


def test_a_strategy_of_the_same_name_elsewhere_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "mine_same_name.py"
    file.write_text("from seg_al import Entropy as Theirs\n\n\nclass Entropy(Theirs):\n    pass\n")
    mine = importlib.import_module("mine_same_name").Entropy()
    run = tiny_experiment(tmp_path, rounds=1, strategy=mine).run()
    with pytest.raises(UserError, match=r"other settings .*strategy=mine_same_name\.Entropy.*strategy=Entropy"):
        tiny_experiment(tmp_path, rounds=1, strategy=Entropy()).run()
    tiny_experiment(tmp_path, rounds=1, strategy=mine).run()
    assert "not as it was" not in capsys.readouterr().err
    file.write_text(file.read_text() + "# edited\n")
    tiny_experiment(tmp_path, rounds=1, strategy=mine).run()
    assert f"note: {file}: not as it was when this run began" in capsys.readouterr().err
    assert "edited" not in (run / "mine_same_name.py").read_text()


def test_checkpoints_go_even_if_the_run_was_killed_as_it_ended(tmp_path: Path) -> None:
    run = tiny_experiment(tmp_path, rounds=1).run()
    (run / "rounds/00/train.ckpt").write_bytes(b"")
    tiny_experiment(tmp_path, rounds=1).run()
    assert not (run / "rounds/00/train.ckpt").exists()


def test_the_output_folder_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tiny_experiment("~/runs").directory == tmp_path / "runs/tiny/seed0"


def test_a_number_of_workers_below_0_is_refused() -> None:
    with pytest.raises(UserError, match=r"Machine\.workers must be at least 0, not -1"):
        Machine(workers=-1)


def test_an_initial_pool_from_another_runs_file(tmp_path: Path) -> None:
    first = tiny_experiment(tmp_path, rounds=1, seed=5).run()
    file = first / "rounds" / "00" / "labeled.txt"
    second = tiny_experiment(tmp_path, name="second", rounds=1, initial=FileInitial(path=str(file))).run()
    assert (second / "rounds" / "00" / "labeled.txt").read_text() == file.read_text()


def test_the_best_checkpoint_needs_and_uses_the_validation_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Train(epochs=3, batch_size=4, lr=1e-2, keep="best")
    tiny_experiment(tmp_path, rounds=1, train=train).run()

    monkeypatch.setattr(Squares, "__len__", lambda self: 0 if self.ids[0].startswith("val") else len(self.ids))
    with pytest.raises(UserError, match="its val split is empty"):
        tiny_experiment(tmp_path / "b", rounds=1, train=train).run()


class Bad(Strategy):
    positions: tuple[int, ...]

    def select(self, round, budget):  # type: ignore[no-untyped-def]
        return Selection(np.array(self.positions), np.zeros(len(self.positions)))


@pytest.mark.parametrize("positions", [(0, 1), (0, 1, 1), (0, 1, 36), (0, 1, -1), (0, 1, 2, 3)])
def test_a_strategy_that_answers_wrongly_is_caught(positions: tuple[int, ...]) -> None:
    strategy = Bad(positions=positions)
    with pytest.raises(ValueError, match="Bad chose"):
        check_selection(strategy.select(None, 3), 36, 3, strategy)


def test_images_of_differing_sizes_and_crops(tmp_path: Path) -> None:
    for fit in ("resize", "crop"):
        run = tiny_experiment(tmp_path, name=fit, dataset=MixedScenes(size=(24, 40), fit=fit), strategy=Entropy()).run()
        assert len(list(run.glob("rounds/*/query.csv"))) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"model": SMP(encoder="resnet18", weights="gone.pt")},
        {"strategy": TypiClust(features=FrozenFeatures(weights="gone.pt"))},
        {"strategy": Replay(path="gone.csv")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_files_that_are_gone_are_missed_before_anything_is_written(tmp_path: Path, change: dict) -> None:
    experiment = tiny_experiment(tmp_path, **change)
    with pytest.raises(UserError, match="gone"):
        experiment.run()
    assert not experiment.directory.exists()
