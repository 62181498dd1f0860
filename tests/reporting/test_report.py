"""The whole report: files, words and what is left out, for runs in any state."""

from __future__ import annotations

import csv
import re
import runpy
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from run_directories import write_full, write_run, write_study

from seg_al.config import UserError
from seg_al.reporting.reading import read_runs
from seg_al.reporting.report import as_markdown, write_report
from seg_al.reporting.sections import make_parts

ROOT = Path(__file__).parents[2]
NOTES = {"pixels": {"road": 70, "car": 30}, "images": {"road": 10, "car": 5}, "redundancy": 0.8}


def make_study(home: Path, seeds: int = 2, strategies: tuple[str, ...] = ("random", "vaal"), **options: object) -> Path:
    for order, name in enumerate(strategies):
        for seed in range(seeds):
            scores = [0.3, 0.4 + order / 20 + seed / 100, 0.5 + order / 20 - seed / 50]
            classes = [{"road": 0.8, "car": 0.3 + order / 10, "bus": None}] * 3
            given = {"about": [NOTES] * 2, "classes": classes} | options
            write_run(home / name / f"seed{seed}", scores, **given)  # type: ignore[arg-type]
    return write_study(home, strategies, range(seeds))


def text_of(folders: list[Path], random: str | None = "random", **options: object) -> str:
    return as_markdown("title", make_parts(read_runs(folders), random, **options))  # type: ignore[arg-type]


def test_a_report_is_a_page_a_text_figures_tables_and_indices(tmp_path: Path) -> None:
    home = make_study(tmp_path / "camvid_study")
    write_full(home / "full/seed0", 0.6)
    out = write_report([home])
    assert out == home.resolve() / "report"
    page = (out / "report.html").read_text()
    text = (out / "report.md").read_text()
    assert "camvid_study" in page and page.count("data:image/svg+xml") == text.count("![")
    links = re.findall(r"\]\((figures/.*?\.svg)\)", text)
    assert len(links) > 6 and all((out / link).exists() for link in links)
    assert {path.stem for path in (out / "figures").glob("*.png")} == {Path(link).stem for link in links}
    tables = {path.stem for path in (out / "tables").glob("*.csv")}
    assert tables == {path.stem for path in (out / "tables").glob("*.tex")}
    assert {"learning_curves", "aubc", "labels_needed", "differences", "penalty_matrix", "overlap", "time"} <= tables
    curve = pd.read_csv(out / "tables/learning_curves.csv").set_index(["strategy", "labeled"])
    assert curve.loc[("vaal", 20), "mean"] == pytest.approx(0.455)

    with open(out / "indices/vaal_seed1.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["round"] for row in rows] == ["0"] * 10 + ["1"] * 10 + ["2"] * 10
    assert rows[10]["id"] == "a010" and (out / "indices/full_seed0.csv").exists()


def test_unfinished_and_damaged_runs_are_named(tmp_path: Path) -> None:
    home = make_study(tmp_path / "study")
    (home / "vaal/seed1/rounds/01/metrics.json").write_text("{")
    write_run(home / "random/seed2", [0.3, 0.4], planned=3, phase="train")
    write_study(home, ["random", "vaal", "mc"], [0])
    text = text_of([home])
    assert "3 runs are not complete" in text
    assert re.search(r"\| vaal \| 1 \| damaged: .*rounds/01/metrics\.json", text)
    assert "| random | 2 | unfinished: 2 of 3 rounds |" in text and "| mc | 0 | never started |" in text
    assert "random 3 of 3" not in text and "vaal 1 of 3" in text
    assert re.search(r"\| random \| .* \(n=2\) \|\n", text)  # the last budget has two of three seeds
    assert "All runs are complete" not in text


def test_one_seed_has_no_intervals_and_says_so(tmp_path: Path) -> None:
    text = text_of([make_study(tmp_path / "study", seeds=1)])
    assert "One seed: no interval and no test can be given" in text
    assert "| random | 30.0 | 40.0 | 50.0 |" in text and "nan" not in text


def test_few_seeds_cannot_be_significant_in_an_exact_test(tmp_path: Path) -> None:
    assert "With 2 seeds, no exact test of signs can reach p < 0.05" in text_of([make_study(tmp_path)]).replace(
        "\\", ""
    )


def test_without_random_nothing_is_compared_with_it(tmp_path: Path) -> None:
    text = text_of([make_study(tmp_path, strategies=("vaal", "mc"))], random=None)
    assert "name it with --random" in text and "Differences" not in text and "Pairwise comparison" in text


def test_another_strategy_may_be_the_baseline(tmp_path: Path) -> None:
    assert "## Differences from vaal" in text_of([make_study(tmp_path)], random="vaal")


def test_censored_levels_stay_bounds(tmp_path: Path) -> None:
    home = make_study(tmp_path)
    write_full(home / "full/seed0", 0.9)
    text = text_of([home], levels=[0.2])
    row = next(line for line in text.split("## Labels needed")[1].splitlines() if line.startswith("| vaal |"))
    assert row.split(" | ")[1].startswith("> 30") and row.split(" | ")[5].startswith("≤ 10")
    assert "undefined" in row


def test_the_corrected_family_is_stated(tmp_path: Path) -> None:
    text = text_of([make_study(tmp_path)])
    assert "Holm's correction is over the strategies at one budget" in text
    assert "adjusted after Holm over all strategies of this table" in text


def test_classes_never_measured_are_named(tmp_path: Path) -> None:
    text = text_of([make_study(tmp_path)])
    assert "without a score: bus" in text and "| bus |" not in text.split("## Classes")[1].split("##")[0]


def test_sequences_are_asked_for_or_the_studys(tmp_path: Path) -> None:
    home = make_study(tmp_path)
    assert "New sequences" not in text_of([home])
    assert "New sequences" in text_of([home], sequence="a..")
    write_study(home, ["random", "vaal"], [0, 1], sequence="a..")
    assert "New sequences" in text_of([home])


def test_seconds_saved_are_told(tmp_path: Path) -> None:
    home = make_study(tmp_path / "study")
    for seed in (0, 1):
        write_run(home / f"first_round/seed{seed}", [0.3], seconds={"train": 400.0, "evaluate": 100.0})
    assert "First rounds took 1,000 s and were shared by all strategies, which saved 1,000 s" in text_of([home])


@pytest.mark.parametrize("state", ["first round", "differing", "old", "accuracy", "full only", "no score", "many"])
def test_runs_in_any_state_give_a_report(tmp_path: Path, state: str) -> None:
    if state == "first round":
        for name in ("random", "vaal"):
            write_run(tmp_path / name / "seed0", [0.3], planned=3, phase="select")
    elif state == "differing":
        write_run(tmp_path / "random/seed0", [0.3, 0.4, 0.5])
        write_run(tmp_path / "random/seed1", [0.3], planned=3)
        write_run(tmp_path / "vaal/seed1", [0.3, 0.4], planned=3)
    elif state == "old":
        make_study(tmp_path, about=(), classes=(), seconds={})
    elif state == "accuracy":
        make_study(tmp_path, metric="accuracy", classes=())
    elif state == "full only":
        write_full(tmp_path / "full/seed0", 0.6)
    elif state == "no score":
        write_run(tmp_path / "vaal/seed0", [None, None])
    else:
        make_study(tmp_path, strategies=tuple(f"{k}: 100 % $me_{k}" for k in range(12)))
    parts = make_parts(read_runs([tmp_path]), "random" if (tmp_path / "random").exists() else None, [0.35], "a")
    text = as_markdown("title", parts)
    assert "nan" not in text.lower() and parts[0].title == "Overview"
    assert (len(parts) > 1) == (state != "full only")


def test_what_an_earlier_report_wrote_goes_and_files_of_others_stay(tmp_path: Path) -> None:
    home = make_study(tmp_path / "study")
    out = write_report([home])
    (out / "tables/mine.csv").write_text("1\n")
    (out / ".files").write_text((out / ".files").read_text() + "../study.json\nreport.md\n")  # not ours to take away
    shutil.rmtree(home / "vaal")
    write_study(home, ["random"], [0, 1])
    before = {path.relative_to(out) for path in out.rglob("*.*")}
    write_report([home])
    gone = {path.as_posix() for path in before - {path.relative_to(out) for path in out.rglob("*.*")}}
    assert {"indices/vaal_seed0.csv", "tables/penalty_matrix.tex", "figures/differences.png"} <= gone
    assert (out / "tables/mine.csv").exists() and (out / "report.md").exists() and (home / "study.json").exists()


def test_indices_of_every_run_are_written(tmp_path: Path) -> None:
    for name in ("x/vaal", "y/vaal", "x_vaal", "mc"):
        write_run(tmp_path / name / "seed0", [0.1, 0.2], queries=[[name]])
    (tmp_path / "x/vaal/seed0/rounds/01/metrics.json").write_text("{")  # damaged, but what it asked for is known
    (tmp_path / "y/vaal/seed0/rounds/00/query.csv").write_text("id,score,rank\ny/vaal,0.5,1\n")
    (tmp_path / "mc/seed0/rounds/00/labeled.txt").unlink()
    with pytest.warns(UserWarning, match="labeled.txt: what was labeled cannot be read") as warned:
        out = write_report([tmp_path], tmp_path / "report")
    assert len(warned) == 1
    asked = {path.stem: path.read_text().splitlines()[11:] for path in (out / "indices").glob("*.csv")}
    assert asked == {
        "x_vaal_seed0": ["1,1,x_vaal,"],
        "x_vaal_seed0_": ["1,1,x/vaal,"],  # the damaged one comes after the others
        "y_vaal_seed0": ["1,1,y/vaal,0.5"],
    }


@pytest.mark.parametrize("place", ["file", "/proc/nothing"])
def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path: Path, place: str) -> None:
    home = make_study(tmp_path / "study")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written \([A-Z].*\)$"):
        write_report([home], tmp_path / place)


def test_nothing_to_report_on_is_one_line(tmp_path: Path) -> None:
    home = write_study(tmp_path / "study", ["vaal"], [0])
    with pytest.raises(UserError, match=r"none of the 1 runs has a round to report on; .*vaal/seed0: never started$"):
        write_report([home])
    write_run(home / "vaal/seed0", [0.1])
    with pytest.raises(UserError, match="--levels"):
        write_report([home], levels=[50])
    with pytest.raises(UserError, match="no regular expression"):
        write_report([home], sequence="(")


def test_the_tool_writes_the_same_report_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = write_study(tmp_path / "runs/study", ["vaal"], [0])
    write_run(home / "vaal/seed0", [0.1, 0.2])
    monkeypatch.setattr(sys, "argv", ["report.py", str(home), "--title", "Two & three", "--levels", "0.15"])
    written = []
    for _ in range(2):  # the second time with the first report in the study's folder
        with pytest.raises(SystemExit) as done:
            runpy.run_path(str(ROOT / "tools/report.py"), run_name="__main__")
        assert not done.value.code and capsys.readouterr().out == f"wrote {home.resolve()}/report/report.html\n"
        written.append({path: path.read_bytes() for path in (home / "report").rglob("*.*")})
    assert written[0] == written[1] and len(written[0]) > 8
    assert "Two &amp; three" in (home / "report/report.html").read_text()


def test_the_tool_says_a_mistake_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", str(tmp_path)])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / "tools/report.py"), run_name="__main__")
    assert done.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no run in it" in said
