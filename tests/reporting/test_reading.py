"""Reading run directories: what belongs together, what is upper bound, what is broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_directories import write_full, write_run, write_study

from seg_al.config import UserError
from seg_al.reporting.reading import read_runs

METRICS = (
    '{"test": {"mIoU": 0.4}, "labeled": 20, "round": 1, "fraction": 0.2, "seconds": {}, "diagnostics": {}, '
    '"query": null}'
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two strategies and two seeds; vaal's second seed is under way, mc's second was never started."""
    home = write_study(tmp_path / "study", ["vaal", "mc"], [0, 1], full=True, sequence="[^_]*", pool={"size": 100})
    for seed in (0, 1):
        write_run(home / f"first_round/seed{seed}", [0.3], seconds={"train": 40.0 + seed, "evaluate": 2.0})
    write_run(home / "vaal/seed0", [0.3, 0.4, 0.5])
    write_run(home / "vaal/seed1", [0.2, 0.3], planned=3, phase="train")
    write_run(home / "mc/seed0", [0.3, 0.35, 0.4])
    write_full(home / "full/seed0", 0.7)
    return home


def test_a_study_is_read_in_its_own_order_without_its_shared_first_rounds(study: Path) -> None:
    runs = read_runs([study])
    assert runs.strategies == ("vaal", "mc") and runs.seeds == (0, 1) and runs.metric == "mIoU"
    assert runs.budgets.tolist() == [10, 20, 30]
    np.testing.assert_array_equal(runs.scores("vaal"), [[0.3, 0.4, 0.5], [0.2, 0.3, np.nan]])
    np.testing.assert_array_equal(runs.scores("mc"), [[0.3, 0.35, 0.4], [np.nan] * 3])
    assert [run.rounds[0].score for run in runs.full] == [0.7]
    assert runs.first_seconds == {(study, 0): 42.0, (study, 1): 43.0}
    assert runs.pool["size"] == 100 and runs.sequence == "[^_]*"


def test_what_is_not_complete_says_so(study: Path) -> None:
    runs = read_runs([study])
    assert {f"{run.strategy}{run.seed}": run.status for run in runs.runs} == {
        "vaal0": "",
        "vaal1": "unfinished: 2 of 3 rounds",
        "mc0": "",
    }
    assert [(run.strategy, run.seed, run.status) for run in runs.broken] == [
        ("mc", 1, "never started"),
        ("full", 1, "never started"),
    ]


def test_a_run_killed_in_a_round_counts_up_to_the_round_before(study: Path) -> None:
    folder = study / "vaal/seed1/rounds/02"
    folder.mkdir()
    (folder / "labeled.txt").write_text("a000\n")  # written before training; metrics.json is not there yet
    run = next(run for run in read_runs([study]).runs if (run.strategy, run.seed) == ("vaal", 1))
    assert len(run.rounds) == 2 and run.status == "unfinished: 2 of 3 rounds"


def test_the_error_a_stopped_run_ended_with_is_told(study: Path) -> None:
    (study / "logs").mkdir()
    log = study / "logs/vaal_seed1.log"
    log.write_text("round 1/3\n 10%\r 20%\rTraceback\ntorch.OutOfMemoryError: CUDA out of memory\n\n")
    (study / "logs/vaal_seed0.log").write_text("error: of an earlier start\n")  # has finished since
    runs = {(run.strategy, run.seed): run for run in read_runs([study]).runs}
    assert runs["vaal", 1].status.endswith("its log ends with 'torch.OutOfMemoryError: CUDA out of memory'")
    assert runs["vaal", 0].status == ""
    log.write_text("error: old\nround 2/3 mIoU 30 %\n")
    assert "log" not in next(run for run in read_runs([study]).runs if run.seed == 1).status


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("rounds/01/metrics.json", '{"round": 1,', "rounds/01/metrics.json"),
        ("rounds/01/metrics.json", "[]", "rounds/01/metrics.json"),
        ("rounds/01/metrics.json", '{"test": {"IoU": {}}}', "no metric under 'test'"),
        ("rounds/01/labeled.txt", "a000\n", "says 20 labeled images, but labeled.txt lists 1"),
        ("rounds/01/metrics.json", '{"test": {"accuracy": 0.5}, "round": 1}', "its metric is accuracy"),
        ("rounds/01/metrics.json", '{"test": {"mIoU": 45.2}, "labeled": 20, "round": 1, "fraction": 0.2}', "of 45.2"),
        ("rounds/01/metrics.json", '{"test": {"mIoU": 0.4}, "labeled": 20, "round": Infinity}', "metrics.json"),
        ("rounds/01/metrics.json", '{"test": {"mIoU": 0.4}, "labeled": 20, "seconds": [1]}', "'seconds'"),
        ("rounds/01/metrics.json", METRICS.replace("0.4", "-Infinity"), "infinite"),
        ("rounds/01/metrics.json", METRICS.replace('"diagnostics": {}', '"diagnostics": [1]'), "'diagnostics'"),
        ("rounds/01/metrics.json", METRICS.replace("null", '{"pixels": [1]}'), "'pixels'"),
        ("rounds/01/metrics.json", METRICS.replace("null", '{"pixels": {"road": null}}'), "metrics.json"),
        ("rounds/01/query.csv", "rank,id,score\n1\n", "a line without an id"),
        ("rounds/01/query.csv", "rank,id,score\n1,a050,abc\n", "'abc'"),
        ("rounds/01/query.csv", f"rank,id,score\n1,{'a' * 200_000},\n", "field"),
        ("state.json", "{", "state.json"),
        ("state.json", "[1]", "no object of JSON"),
    ],
)
def test_a_damaged_run_is_set_apart_and_its_file_is_named(study: Path, file: str, text: str, said: str) -> None:
    (study / "mc/seed0" / file).write_text(text)
    runs = read_runs([study])
    assert runs.strategies == ("vaal",)
    broken = next(run for run in runs.broken if (run.strategy, run.seed) == ("mc", 0))
    assert broken.status.startswith("damaged: ") and said in broken.status and "\n" not in broken.status


def test_a_sound_round_of_these_texts_is_read(study: Path) -> None:
    (study / "mc/seed0/rounds/01/metrics.json").write_text(METRICS)
    assert read_runs([study]).scores("mc")[0].tolist() == [0.3, 0.4, 0.4]


def test_a_round_that_is_missing_is_told_and_nobodys_copy_is_a_round(study: Path) -> None:
    shutil.copytree(study / "vaal/seed0/rounds/02", study / "vaal/seed0/rounds/02_old")
    shutil.rmtree(study / "mc/seed0/rounds/01")
    vaal, mc = (next(run for run in read_runs([study]).runs if run.strategy == name) for name in ("vaal", "mc"))
    assert len(vaal.rounds) == 3 and vaal.finished
    assert mc.missing == (1,) and mc.status == "unfinished: 2 of 3 rounds, round 1 is missing"
    (study / "mc/seed0/config.py").write_text("")  # a run that does not say how many rounds it has
    assert read_runs([study / "mc"]).runs[0].status == "unfinished: 2 rounds, round 1 is missing"


def test_what_a_study_lacks_is_told_from_above_it_too(study: Path) -> None:
    (study / "logs").mkdir()
    (study / "logs/mc_seed1.log").write_text("error: weights are missing\n")
    shutil.rmtree(study / "first_round/seed1/rounds")
    write_study(study.parent / "other/waiting", ["a"], [7])
    assert {(run.strategy, run.seed): run.status for run in read_runs([study.parent]).broken} == {
        ("mc", 1): "never started; its log ends with 'error: weights are missing'",
        ("full", 1): "never started",
        ("first_round", 1): "no round finished yet",
        ("a", 7): "never started",
    }
    assert not read_runs([study / "vaal"]).broken  # of a part nothing more is expected


def test_a_run_that_ended_before_its_first_round_is_listed_and_a_config_alone_is_no_run(study: Path) -> None:
    config = (study / "mc/seed0/config.py").read_text()
    for name, files in {"begun/seed0": ("config.py", ".lock"), "mine": ("config.py",)}.items():
        (study.parent / "runs" / name).mkdir(parents=True)
        for file in files:
            (study.parent / "runs" / name / file).write_text(config)
    runs = read_runs([study, study.parent / "runs"])
    assert [(run.strategy, run.status) for run in runs.broken if run.path.is_relative_to(study.parent / "runs")] == [
        ("begun", "no round finished yet")
    ]


def test_names_that_tables_need_are_not_a_strategys(tmp_path: Path) -> None:
    for name in ("pool", "strategy", "class", "vaal"):
        write_run(tmp_path / f"mine/{name}/seed0", [0.1])
    assert set(read_runs([tmp_path]).strategies) == {"mine/pool", "mine/strategy", "mine/class", "vaal"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("study.json", "[1]"),
        ("study.json", '{"seeds": [0]}'),
        ("study.json", '{"strategies": ["vaal"], "seeds": 3}'),
        ("pool.json", "[1]"),
        ("pool.json", '{"pixels": {"road": 3}}'),
        ("pool.json", '{"size": 0}'),
        ("pool.json", '{"size": 9, "pixels": [3]}'),
    ],
)
def test_a_studys_damaged_file_is_named(study: Path, file: str, text: str) -> None:
    (study / file).write_text(text)
    with pytest.raises(UserError, match=rf"{file}: damaged \(.*\); delete it, or run the study again"):
        read_runs([study])


def test_rounds_are_in_order_of_their_numbers_beyond_a_hundred(tmp_path: Path) -> None:
    write_run(tmp_path / "vaal/seed0", [k / 200 for k in range(102)], initial=1, budget=1, pool=150)
    (run,) = read_runs([tmp_path / "vaal"]).runs
    assert [r.number for r in run.rounds] == list(range(102)) and run.finished


def test_queries_are_read_with_their_notes_and_old_runs_without(tmp_path: Path) -> None:
    about = [{"pixels": {"road": 7}, "images": {"road": 2}, "redundancy": 0.5}]
    write_run(tmp_path / "new/seed0", [0.1, 0.2], about=about, queries=[["a077", "a050"]])
    write_run(tmp_path / "old/seed0", [0.1, 0.2], seconds={"train": 4.0})
    new, old = (run.rounds for run in read_runs([tmp_path]).runs)
    assert new[0].query and new[0].query.ids == ("a077", "a050")
    assert (new[0].query.pixels, new[0].query.images, new[0].query.redundancy) == ({"road": 7}, {"road": 2}, 0.5)
    assert new[1].query is None
    assert old[0].query and old[0].query.pixels == {} and np.isnan(old[0].query.redundancy)
    assert old[0].seconds["train"] == 4.0 and np.isnan(old[0].seconds["evaluate"])  # not noted is not 0


def test_classes_absent_from_the_test_split_are_nan(tmp_path: Path) -> None:
    write_run(tmp_path / "vaal/seed0", [0.4], classes=[{"road": 0.9, "bus": None}])
    (run,) = read_runs([tmp_path]).runs
    assert run.rounds[0].classes["road"] == 0.9 and np.isnan(run.rounds[0].classes["bus"])


def test_accuracy_is_a_metric_too(tmp_path: Path) -> None:
    write_run(tmp_path / "vaal/seed0", [0.4, None], metric="accuracy")
    runs = read_runs([tmp_path])
    assert runs.metric == "accuracy" and runs.runs[0].rounds[0].classes == {}
    np.testing.assert_array_equal(runs.scores("vaal"), [[0.4, np.nan]])


def test_strategies_of_one_name_go_by_as_much_of_the_path_as_tells_them_apart(tmp_path: Path) -> None:
    for home in ("a/camvid", "b/camvid", "b/bdd"):
        write_run(tmp_path / home / "vaal/seed0", [0.1])
    write_run(tmp_path / "b/bdd/random/seed3", [0.1])
    assert set(read_runs([tmp_path / "a", tmp_path / "b"]).strategies) == {
        "a/camvid/vaal",
        "b/camvid/vaal",
        "bdd/vaal",
        "random",
    }


def test_runs_may_be_given_one_by_one_and_twice(tmp_path: Path) -> None:
    write_run(tmp_path / "vaal/seed0", [0.1])
    write_run(tmp_path / "vaal/seed1", [0.1])
    write_run(tmp_path / "my run", [0.1])
    write_run(tmp_path / ".trash/vaal/seed0", [0.1])
    runs = read_runs([tmp_path / "vaal/seed1", tmp_path / "vaal", tmp_path / "my run", tmp_path])
    assert [(run.strategy, run.seed) for run in runs.runs] == [("my run", 0), ("vaal", 0), ("vaal", 1)]


def test_a_part_of_a_study_still_has_its_pool(study: Path) -> None:
    runs = read_runs([study / "vaal"])
    assert runs.pool["size"] == 100 and runs.sequence == "[^_]*" and not runs.broken


def test_two_pools_are_no_pool(study: Path, tmp_path: Path) -> None:
    other = write_study(tmp_path / "other", ["x"], [0], pool={"size": 50})
    write_run(other / "x/seed0", [0.1])
    assert read_runs([study, other]).pool == {}


def test_what_cannot_be_reported_on_is_one_line(study: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no run in it"):
        read_runs([tmp_path / "empty"])
    write_run(tmp_path / "c10/vaal/seed0", [0.9], metric="accuracy")
    with pytest.raises(UserError, match=r"mIoU in .*accuracy in "):
        read_runs([study, tmp_path / "c10"])
    (study / "study.json").write_text(json.dumps({})[:1])
    with pytest.raises(UserError, match=r"study\.json: damaged"):
        read_runs([study])
