"""Studies: what runs share, which runs there are, and how they are run."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from background import kill_when, start
from conftest import ROOT, Tool
from tiny import Squares, TinyScenes, tiny_experiment

from seg_al import VAAL, Entropy, Random, RandomInitial, Study, Train, UserError, load
from seg_al.config import save, source
from seg_al.data.base import Split
from seg_al.reporting.reading import read_runs
from seg_al.reporting.run_analysis import seconds_saved
from seg_al.study import Key
from seg_al.study_runner import Processes, chosen, run_all

CONFIG = """
    from pathlib import Path
    from seg_al import Entropy, Random, Study
    from tiny import tiny_experiment
    config = Study(
        name="small", base=tiny_experiment("runs"), strategies={"random": Random(), "entropy": Entropy()}, seeds=(0, 1)
    )
"""


def small(output: object, **changes: object) -> Study:
    settings: dict = {
        "name": "small",
        "base": tiny_experiment(output),
        "strategies": {"random": Random(), "entropy": Entropy()},
        "seeds": (0, 1),
    }
    return Study(**{**settings, **changes})


def found(study: Study, key: Key) -> dict[str, str]:
    """Return what a run labeled and scored."""
    run = study.experiment(key).directory
    files = {str(file.relative_to(run)): file.read_text() for file in run.glob("rounds/*/*.[ct][sx][vt]")}
    scores = [json.loads(file.read_text())["test"] for file in sorted(run.glob("rounds/*/metrics.json"))]
    assert len(scores) == study.experiment(key).rounds
    return {**files, "scores": json.dumps(scores)}


def run_here(study: Study) -> None:
    for key in chosen(study):
        study.run(key)


def test_a_shared_first_round_changes_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = small(tmp_path / "shared", seeds=(3,), strategies={"entropy": Entropy(), "vaal": VAAL(latent=4, epochs=1)})
    trained: list[str] = []
    whole = sys.modules["seg_al.experiment"].fit

    def counted(task: object, network: object, view: object, settings: object, phase: object, *rest: object) -> object:
        trained.append(phase.name)  # type: ignore[attr-defined]
        return whole(task, network, view, settings, phase, *rest)

    monkeypatch.setattr("seg_al.experiment.fit", counted)
    run_here(study)
    assert len(trained) == 1 + 2 * 2  # one first round, and two later rounds of each of two strategies
    for name in ("entropy", "vaal"):
        alone = replace(study.experiment(Key(name, 3)), machine=replace(study.base.machine, output=tmp_path / "alone"))
        alone.run()
        shared = found(study, Key(name, 3))
        apart = small(tmp_path / "alone", seeds=(3,), strategies=study.strategies)
        assert shared == found(apart, Key(name, 3))


def test_a_taken_over_round_is_in_the_curve_and_in_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    study = small(tmp_path, seeds=(0,))
    run_here(study)
    run = study.experiment(Key("entropy", 0)).directory
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("test/mIoU")] == [4, 7, 10]
    assert (run / "curve.csv").read_text().count("\n") == 4
    study.describe()
    saved, spent = seconds_saved(read_runs([study.directory]))
    assert saved > 0 and saved == pytest.approx(spent)  # two strategies: one training of two is saved


def test_a_first_round_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    experiment = tiny_experiment(tmp_path, name="mine")
    other = replace(experiment, name="other", train=Train(epochs=1, batch_size=4, lr=1e-2), rounds=1).run()
    with pytest.raises(UserError, match=r"other settings.*epochs"):
        experiment.run(first_round=other)
    longer = replace(experiment, name="longer").run()
    with pytest.raises(UserError, match="no finished run of one round"):
        experiment.run(first_round=longer)
    with pytest.raises(UserError, match="no finished run of one round"):
        experiment.run(first_round=tmp_path / "nowhere")
    one = replace(experiment, name="one", rounds=1, strategy=Entropy()).run()
    experiment.run(first_round=one)


def test_a_study_is_a_config(tmp_path: Path) -> None:
    study = small(tmp_path, strategies={"vaal": VAAL()})
    save(study, tmp_path)
    again = load(tmp_path / "config.py")
    assert source(again) == source(study) and again == study
    other = load(
        tmp_path / "config.py", ["--base.train.epochs", "7", "--strategies.vaal.latent", "5", "--seeds", "2", "4"]
    )
    assert (other.base.train.epochs, other.strategies["vaal"].latent, other.seeds) == (7, 5, (2, 4))
    assert type(other.base) is type(study.base) and source(other.base)
    with pytest.raises(UserError, match=r"base\.train\.epochs"):
        load(tmp_path / "config.py", ["--base.train.epoch", "7"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": {}}, "is empty"),
        ({"strategies": {"full": Random()}}, "'full'"),
        ({"strategies": {"first_round": Random()}}, "'first_round'"),
        ({"strategies": {"a/b": Random()}}, "'a/b'"),
        ({"strategies": {"-x": Random()}}, "'-x'"),
        ({"strategies": {"pool.json": Random()}}, "'pool.json'"),
        ({"strategies": {"a-b": Random(), "a_b": Entropy()}}, "'a_b' but for - and _"),
        ({"sequence": "["}, "Study.sequence '\\[' is no regular expression"),
        ({"seeds": ()}, "at least one"),
        ({"seeds": (1, 1)}, "distinct"),
        ({"seeds": (-1,)}, "from 0"),
    ],
)
def test_settings_that_make_no_study_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(tmp_path, **changes)


def test_the_whole_pool_is_the_upper_bound(tmp_path: Path) -> None:
    study = small(tmp_path, seeds=(0,), full=True)
    path = study.run(Key("full", 0))
    metrics = json.loads((path / "rounds/00/metrics.json").read_text())
    assert (metrics["labeled"], metrics["fraction"]) == (40, 1.0)
    assert sorted((path / "rounds/00/labeled.txt").read_text().split()) == list(Squares("train", 40, 32).ids)
    assert study.experiment(Key("full", 0)).initial == RandomInitial(size=40)


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 9])
def test_shards_part_the_runs_and_bring_the_first_rounds_they_need(tmp_path: Path, parts: int) -> None:
    study = small(tmp_path, seeds=(0, 1, 2), full=True)
    shards = [chosen(study, shard=f"{i}/{parts}") for i in range(1, parts + 1)]
    own = [key for shard in shards for key in shard if key.name != "first_round"]
    assert sorted(map(str, own)) == sorted(str(key) for key in study.keys() if key.name != "first_round")
    for shard in shards:
        needed = {key.seed for key in shard if key.name in study.strategies}
        assert {key.seed for key in shard if key.name == "first_round"} == needed
    assert len(study.keys()) == len(set(study.keys())) == 3 * 4


def test_some_runs_only(tmp_path: Path) -> None:
    study = small(tmp_path)
    assert list(map(str, chosen(study, ["entropy"]))) == [
        "first_round/seed0", "first_round/seed1", "entropy/seed0", "entropy/seed1",
    ]  # fmt: skip
    assert list(map(str, chosen(study, ["random/seed1"]))) == ["first_round/seed1", "random/seed1"]
    with pytest.raises(UserError, match=r"no run 'entrpy'.*did you mean 'entropy'"):
        chosen(study, ["entrpy"])
    for shard in ("0/2", "3/2", "2", "a/b", "1/0"):
        with pytest.raises(UserError, match="--shard"):
            chosen(study, shard=shard)


def test_first_rounds_come_first_and_a_failure_stops_only_what_needs_it(tmp_path: Path) -> None:
    study = small(tmp_path, seeds=(0, 1, 2), full=True)
    finished: list[str] = []
    at_once: list[int] = []

    def launch(key: Key, slot: int) -> str | None:
        at_once.append(slot)
        if key.name in study.strategies:
            assert f"first_round/seed{key.seed}" in finished
        time.sleep(0.02)
        if str(key) in ("first_round/seed1", "entropy/seed0"):
            return "out of luck"
        if str(key) == "random/seed2":
            raise RuntimeError("boom")
        finished.append(str(key))
        return None

    failed = {str(key): problem for key, problem in run_all(study, chosen(study), 3, launch).items()}
    assert failed == {
        "first_round/seed1": "out of luck",
        "random/seed1": "not run: first_round/seed1 failed",
        "entropy/seed1": "not run: first_round/seed1 failed",
        "entropy/seed0": "out of luck",
        "random/seed2": "RuntimeError: boom",
    }
    assert sorted(finished) == [
        "entropy/seed2", "first_round/seed0", "first_round/seed2", "full/seed0", "full/seed1", "full/seed2",
        "random/seed0",
    ]  # fmt: skip
    assert set(at_once) == {0, 1, 2}
    with pytest.raises(UserError, match="--workers"):
        run_all(study, [], 0, launch)


def test_what_is_done_is_skipped_and_other_settings_are_refused_first(tmp_path: Path) -> None:
    study = small(tmp_path, seeds=(0,))
    study.run(Key("first_round", 0))
    study.run(Key("random", 0))
    launched: list[str] = []
    assert not run_all(study, chosen(study), 1, lambda key, _: launched.append(str(key)))
    assert launched == ["entropy/seed0"]
    (study.directory / "indices/random_seed0.csv").unlink()  # killed before it was written
    assert not run_all(study, chosen(study), 1, lambda key, _: None)
    assert (study.directory / "indices/random_seed0.csv").exists()
    changed = small(tmp_path, seeds=(0,), base=tiny_experiment(tmp_path, budget=2))
    with pytest.raises(UserError, match=r"other settings.*budget"):
        run_all(changed, chosen(changed), 1, lambda key, _: launched.append(str(key)))
    assert len(launched) == 1


def test_a_narrower_command_takes_nothing_out_of_the_study(tmp_path: Path) -> None:
    study = small(tmp_path, full=True)
    study.describe()
    study.run(Key("first_round", 1))
    study.run(Key("random", 1))
    study.run(Key("full", 0))
    replace(study, seeds=(0,), full=False).describe()
    about = json.loads((study.directory / "study.json").read_text())
    assert (about["seeds"], about["full"]) == ([0, 1], True)
    assert {(run.strategy, run.seed) for run in read_runs([study.directory]).broken} == {
        ("random", 0), ("entropy", 0), ("entropy", 1), ("full", 1),
    }  # fmt: skip


class Half(TinyScenes):
    """Half of whose images have no label."""

    def samples(self, split: Split) -> Squares:
        listed = super().samples(split)
        target = listed.target
        listed.target = lambda index: target(index) if index % 2 else None  # type: ignore[method-assign,assignment,return-value]
        return listed


def test_the_pools_classes_are_counted_once(tmp_path: Path) -> None:
    for number, dataset in enumerate((TinyScenes(train=10), Half(train=10))):
        study = small(tmp_path / str(number), base=tiny_experiment(tmp_path / str(number), dataset=dataset))
        study.describe()
        about = json.loads((study.directory / "pool.json").read_text())
        targets = [t for k in range(10) if (t := dataset.samples("train").target(k)) is not None]
        assert about["size"] == 10
        assert list(about["pixels"].values()) == [int(np.sum([t == k for t in targets])) for k in range(3)]
        assert list(about["images"].values()) == [sum(bool((t == k).any()) for t in targets) for k in range(3)]
    assert json.loads((study.directory / "study.json").read_text())["strategies"] == ["random", "entropy"]
    (study.directory / "pool.json").write_text(json.dumps(about | {"size": 77}))
    study.describe()
    assert json.loads((study.directory / "pool.json").read_text())["size"] == 77
    replace(study, base=replace(study.base, dataset=Half(train=12))).describe()  # other data: counted anew
    assert json.loads((study.directory / "pool.json").read_text())["size"] == 12


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    (folder / "mine.py").write_text(textwrap.dedent(CONFIG), encoding="utf-8")
    return start("run_study.py", folder, "mine.py", *arguments)


def test_a_killed_study_goes_on_to_the_same_results(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    whole, killed = small(tmp_path / "whole"), small(tmp_path / "killed" / "runs")
    run_here(whole)
    study = started(tmp_path / "killed", "--workers", "2")
    kill_when(study, lambda: list(killed.directory.glob("entropy/seed*/rounds/01")))
    again = started(tmp_path / "killed", "--workers", "2", "--full", "--seeds", "0", "1")
    said, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    assert "runs are done" in said and "which saved" in said
    assert (killed.directory / "full" / "seed1" / "curve.csv").exists()
    assert (killed.directory / "report" / "report.html").exists()
    for key in whole.keys():
        assert found(whole, key) == found(killed, key)
    for name in ("random", "entropy"):
        file = f"indices/{name}_seed1.csv"
        assert (whole.directory / file).read_text() == (killed.directory / file).read_text()


def test_a_run_that_fails_is_named_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "runs" / "small" / "random" / "seed0").mkdir(parents=True)
    (tmp_path / "runs" / "small" / "random" / "seed0" / "holiday.txt").write_text("")
    study = started(tmp_path)
    _, errors = study.communicate(timeout=600)
    assert study.returncode == 2 and "holds files but no run" in errors  # seen before anything runs
    (tmp_path / "runs" / "small" / "random" / "seed0" / "holiday.txt").unlink()
    study = started(tmp_path, "--only", "random/seed0", "--base.train.lr", "1e30")
    _, errors = study.communicate(timeout=600)
    assert study.returncode == 1
    assert "failed: first_round/seed0: error: " in errors and "loss is not finite" in errors
    assert "first_round_seed0.log" in errors and "failed: random/seed0: not run" in errors


def test_a_run_that_another_process_begins_or_was_killed_at_is_no_strangers_folder(tmp_path: Path) -> None:
    study = small(tmp_path, seeds=(0,))
    key = Key("first_round", 0)
    folder = study.experiment(key).directory
    folder.mkdir(parents=True)
    (folder / ".lock").write_text("")
    (folder / "mine.py").write_text("")  # its user's modules are saved before its config
    assert not study.done(key)
    study.run(key)
    assert study.done(key)


def test_a_study_that_is_refused_leaves_its_files_as_they_were(tmp_path: Path) -> None:
    study = small(tmp_path / "runs", seeds=(0,))
    study.run(Key("first_round", 0))
    study.describe()
    before = (study.directory / "study.json").read_text()
    again = started(tmp_path, "--seeds", "0", "5", "--base.budget", "2")
    _, errors = again.communicate(timeout=600)
    assert again.returncode == 2 and "other settings" in errors
    assert (study.directory / "study.json").read_text() == before


def test_a_budget_that_the_pool_does_not_hold_is_seen_first(tmp_path: Path) -> None:
    study = started(tmp_path, "--base.budget", "30")
    _, errors = study.communicate(timeout=600)
    assert study.returncode == 2 and "are 64 images, but the pool holds 40; lower budget to 18" in errors
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="the pool holds 40; lower initial"):
        small(tmp_path, base=tiny_experiment(tmp_path, initial=RandomInitial(size=41))).check_size()


def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/small: cannot be written"):
        small(tmp_path / "file").describe()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="Linux alone")
def test_the_runs_of_a_study_end_with_it(tmp_path: Path) -> None:
    study = started(tmp_path, "--base.train.epochs", "100000")
    log = tmp_path / "runs/small/first_round/seed0/rounds/00"
    deadline = time.monotonic() + 120
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    (child,) = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(study.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    study.terminate()
    _, errors = study.communicate(timeout=60)
    assert study.returncode == 2 and "interrupted" in errors
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; print('round 1/3'); os.kill(os.getpid(), 9)", "killed by signal 9 (see "),
        ("raise ValueError('first line\\nsecond line')", "ValueError: first line (see "),
        ("import sys; print('hm'); sys.exit(3)", "hm (see "),
        ("import sys; sys.exit(3)", "exit code 3 (see "),
        ("import sys; sys.stdout.buffer.write(bytes([255])); sys.exit('error: no luck')", "error: no luck (see "),
    ],
)
def test_why_a_run_failed_is_told(tmp_path: Path, program: str, said: str) -> None:
    processes = Processes(small(tmp_path), lambda key: [sys.executable, "-c", program], 1)
    (tmp_path / "small/logs").mkdir(parents=True)
    (tmp_path / "small/logs/random_seed0.log").write_text("error: of an earlier start\n")
    problem = processes(Key("random", 0), 0)
    assert problem and problem.startswith(said) and problem.endswith("random_seed0.log)")


def test_runs_share_the_cores_and_gpus_they_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(workers: int, slot: int) -> tuple[str, str | None]:
        program = "import os; open('given', 'w').write(repr([os.environ.get(n) for n in NAMES]))"
        names = ["OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"]
        command = [sys.executable, "-c", program.replace("NAMES", repr(names))]
        assert Processes(small(tmp_path), lambda key: command, workers)(Key("random", 0), slot) is None
        return tuple(ast.literal_eval((tmp_path / "given").read_text()))

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert given(2, 0) == ("3", None) and given(7, 0) == ("1", None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [given(3, slot)[1] for slot in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")  # a scheduler's
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert [given(2, slot) for slot in range(2)] == [("4", "2"), ("4", "5")]


def test_what_is_no_study_is_sent_to_the_other_tool(tool: Tool, tmp_path: Path) -> None:
    done = tool("run_study.py", ROOT / "configs" / "quickstart.py")
    assert done.returncode == 2 and "is an Experiment, not a Study; tools/train_al.py takes it" in done.stderr
