"""Curves of run directories: what is written is what is read, drawn and tabulated."""

import ast
import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.collections import PolyCollection

from seg_al.config import UserError
from seg_al.reporting.curves import collect, markdown_table, plot_curve, plot_curves, read_curve, write_curve

POOL = 400
ROOT = Path(__file__).parents[2]


def metrics(number: int, score: float | None, name: str = "mIoU") -> dict:
    labeled = 40 + 20 * number
    return {
        "round": number,
        "labeled": labeled,
        "fraction": labeled / POOL,
        "test": {"IoU": {"road": 0.9, "bus": None}, name: score, "pixel_accuracy": 0.8},
        "seconds": {"train": 1.5, "acquisition": 0.1, "score": 1 / 3, "select": 0.0},
        "diagnostics": {},
    }


def write_rounds(run: Path, scores: list[float | None], name: str = "mIoU") -> Path:
    for number, score in enumerate(scores):
        folder = run / f"rounds/{number:02d}"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics(number, score, name)))
    return run


def make_run(run: Path, scores: list[float | None], name: str = "mIoU") -> Path:
    write_curve(run, collect(write_rounds(run, scores, name)))
    return run


def lines(figure) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}


def test_collect_reads_finished_rounds_in_order(tmp_path: Path) -> None:
    write_rounds(tmp_path, [0.1 + 0.01 * number for number in range(12)])
    (tmp_path / "rounds/12").mkdir()  # the round under way has no metrics yet
    rows = collect(tmp_path)
    assert [row["round"] for row in rows] == list(range(12))
    assert rows[2] == {
        "round": 2,
        "labeled": 80,
        "fraction": 0.2,
        "mIoU": 0.12000000000000001,
        "seconds_train": 1.5,
        "seconds_acquisition": 0.1,
        "seconds_score": 1 / 3,
        "seconds_select": 0.0,
    }


def test_the_first_number_under_test_is_the_metric(tmp_path: Path) -> None:
    write_rounds(tmp_path, [0.7], name="accuracy")
    assert collect(tmp_path)[0]["accuracy"] == 0.7 and "pixel_accuracy" not in collect(tmp_path)[0]


def test_floats_survive_the_file_exactly(tmp_path: Path) -> None:
    scores = [1 / 3, 0.1 + 0.2, float(np.nextafter(0.5, 1)), 0.1234567890123456]
    make_run(tmp_path, scores)
    curve = read_curve(tmp_path / "curve.csv")
    assert curve["mIoU"].tolist() == scores
    assert curve["labeled"].tolist() == [40, 60, 80, 100]
    expected = "round labeled fraction mIoU seconds_train seconds_acquisition seconds_score seconds_select"
    assert list(curve.columns) == expected.split()


def test_what_was_not_measured_is_empty_and_not_a_number(tmp_path: Path) -> None:
    rows = collect(write_rounds(tmp_path, [0.5, None, 0.6]))
    rows[0]["seconds_train"] = float("nan")
    write_curve(tmp_path, rows)
    assert (tmp_path / "curve.csv").read_text().splitlines()[2] == f"1,60,0.15,,1.5,0.1,{1 / 3!r},0.0"
    curve = read_curve(tmp_path)
    assert curve["mIoU"].isna().tolist() == [False, True, False] and np.isnan(curve["seconds_train"][0])
    plot_curve(tmp_path)


def test_a_failed_write_leaves_the_old_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path, [0.5])
    before = (tmp_path / "curve.csv").read_bytes()

    def die(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", die)
    with pytest.raises(KeyboardInterrupt):
        write_curve(tmp_path, collect(tmp_path) * 2)
    assert (tmp_path / "curve.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"round": 0', "is no round's metrics"),
        ('{"round": 0, "labeled": 4, "test": {"mIoU": 0.1}}', "has no 'fraction'"),
        ('{"round": 0, "labeled": 4, "fraction": 0.1, "test": {"IoU": {}}}', "holds no metric"),
        ("[]", "is no round's metrics"),
    ],
)
def test_broken_metrics_name_the_file(tmp_path: Path, content: str, message: str) -> None:
    write_rounds(tmp_path, [0.5])
    (tmp_path / "rounds/00/metrics.json").write_text(content)
    with pytest.raises(UserError, match=rf"rounds/00/metrics\.json {message}"):
        collect(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "a,b\n1,2\n", "round,labeled,fraction\n0,4,0.1\n", "round,labeled,fraction,mIoU\n0,4,.1,1\n1,4,.1,1\n"],
)
def test_a_file_that_is_no_curve_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "curve.csv").write_text(content)
    with pytest.raises(UserError, match=r"curve\.csv"):
        read_curve(tmp_path)
    with pytest.raises(UserError, match="missing"):
        read_curve(tmp_path / "missing.csv")


def test_mean_and_band_over_seeds(tmp_path: Path) -> None:
    runs = {"vaal": [make_run(tmp_path / f"seed{k}", scores) for k, scores in enumerate([[0.4, 0.5], [0.2, 0.8]])]}
    figure = plot_curves(runs)
    assert lines(figure)["vaal (2 seeds)"] == pytest.approx(np.array([[40, 30], [60, 65]]))
    (band,) = [item for item in figure.axes[0].collections if isinstance(item, PolyCollection)]
    corners = {(round(x), round(y, 6)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(40, 20), (40, 40), (60, 50), (60, 80)}


def test_a_seed_that_is_behind_does_not_bend_the_mean(tmp_path: Path) -> None:
    runs = {"vaal": [make_run(tmp_path / "a", [0.4, 0.5, 0.9]), make_run(tmp_path / "b", [0.2, 0.3])]}
    assert lines(plot_curves(runs))["vaal (2 seeds)"] == pytest.approx(np.array([[40, 30], [60, 40]]))
    row = markdown_table(runs).splitlines()[-1]
    assert row == "| vaal | 2 | 30.0 ± 14.1 | 40.0 ± 14.1 |"  # |a - b| / sqrt(2)


def test_a_strategy_looks_the_same_in_every_figure_and_all_differ(tmp_path: Path) -> None:
    run = make_run(tmp_path, [0.4, 0.5])
    names = ["my own", "camvid_VAAL", "VAAL paper", "Core-set", "random", "power_bald", "BALD", "other", "third"]

    def looks(labels: list[str]) -> dict[str, tuple]:
        axes = plot_curves({label: [run] for label in labels}).axes[0]
        return {item.get_label(): (item.get_color(), item.get_marker(), item.get_linestyle()) for item in axes.lines}

    together = looks(names)
    for name in ("camvid_VAAL", "Core-set", "random", "power_bald", "BALD"):
        assert looks([name])[name] == together[name]
    assert len({color for color, _, _ in together.values()}) == len(names)
    assert len({(marker, line) for _, marker, line in together.values()}) == len(names)  # without colour
    red, green, blue = (int(together["random"][0][i : i + 2], 16) for i in (1, 3, 5))
    assert red == green == blue


def test_the_axis_shows_rounds_and_their_share_of_the_pool(tmp_path: Path) -> None:
    figure = plot_curves({"a": [make_run(tmp_path / "a", [0.4, 0.5])]})
    figure.canvas.draw()
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["40\n10 %", "60\n15 %"]
    other = tmp_path / "b"
    other.mkdir()
    write_curve(other, [{"round": 0, "labeled": 40, "fraction": 0.5, "mIoU": 0.3}])  # a smaller pool: no one share
    figure = plot_curves({"a": [tmp_path / "a"], "b": [other]})
    figure.canvas.draw()
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["40", "60"]


def test_curve_png_is_drawn_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = make_run(tmp_path / "vaal/seed0", [0.41, 0.55])
    randoms = [make_run(tmp_path / f"random/seed{k}", [0.4, 0.45 + k / 100]) for k in range(2)]
    sibling = make_run(tmp_path / "vaal/seed1", [0.42, 0.56])
    drawn = {}

    def draw(runs, **settings):
        drawn.update(runs)
        return plot_curves(runs, **settings)

    monkeypatch.setattr("seg_al.reporting.curves.plot_curves", draw)
    path = plot_curve(own, [*randoms, own, sibling, tmp_path / "not_started/seed0"])
    assert drawn == {"vaal": [own], "random": randoms, "vaal, other seeds": [sibling]}
    assert path == own / "curve.png" and cv2.imread(str(path)).shape == (690, 1080, 3)
    assert sorted(item.name for item in own.iterdir()) == ["curve.csv", "curve.png", "rounds"]  # nothing left over


def test_the_runs_own_values_are_written_at_its_points(tmp_path: Path) -> None:
    runs = {"a": [make_run(tmp_path / "a", [0.4, 0.5512])], "b": [make_run(tmp_path / "b", [0.3, 0.2])]}
    assert [text.get_text() for text in plot_curves(runs, values="a").axes[0].texts] == ["40.0", "55.1"]
    assert not plot_curves(runs).axes[0].texts


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    run = make_run(tmp_path, [0.4, 0.5])
    figure = plot_curves({"_a$b$": [run], "größe": [run]}, title="$x$")
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [text.replace("\\$", "$").strip("\u200a") for text in shown] == ["_a$b$", "größe"]
    figure.canvas.draw()


def test_different_metrics_are_not_drawn_together(tmp_path: Path) -> None:
    runs = {"a": [make_run(tmp_path / "a", [0.4])], "b": [make_run(tmp_path / "b", [0.4], name="accuracy")]}
    for show in (plot_curves, markdown_table):
        with pytest.raises(UserError, match="mIoU in a, accuracy in b"):
            show(runs)


def test_a_table_by_number_of_labeled_images(tmp_path: Path) -> None:
    runs = {"a": [make_run(tmp_path / "a", [0.4, 0.5, 0.6])], "b|c": [make_run(tmp_path / "b", [0.3, None])]}
    assert markdown_table(runs).splitlines() == [
        "| mIoU (%) | seeds | 40 | 60 | 80 |",
        "|---|--:|--:|--:|--:|",
        "| a | 1 | 40.0 | 50.0 | 60.0 |",
        r"| b\|c | 1 | 30.0 |  |  |",
    ]


def test_no_global_figure_is_made(tmp_path: Path) -> None:
    plot_curve(make_run(tmp_path, [0.4, 0.5]))
    assert not Gcf.figs  # what pyplot would keep alive, and a window would show


@pytest.mark.parametrize("path", sorted((ROOT / "seg_al/reporting").glob("*.py")), ids=lambda path: path.name)
def test_reporting_imports_nothing_above_config(path: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level
            imported.add(node.module or "")
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    assert {name for name in imported if name.startswith("seg_al")} <= {"seg_al.config"} | {
        name for name in imported if name.startswith("seg_al.reporting")
    }
    assert "matplotlib.pyplot" not in imported


def test_the_tool_finds_runs_and_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(2):
        make_run(tmp_path / f"x/vaal/seed{seed}", [0.4 + seed / 10])
    make_run(tmp_path / "x/random/seed0", [0.3])
    make_run(tmp_path / "y/random", [0.2])

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["plot_curves.py", *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(ROOT / "tools/plot_curves.py"), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capsys.readouterr())

    folders = [tmp_path / "x/vaal", tmp_path / "x/random/seed0", tmp_path / "y/random"]
    code, printed, _ = call(*folders, "--out", tmp_path / "docs/x.png", "--title", "T")
    assert code == 0
    assert printed.splitlines()[2:] == [
        "| vaal | 2 | 45.0 ± 7.1 |",
        "| x/random | 1 | 30.0 |",
        "| y/random | 1 | 20.0 |",
    ]
    assert cv2.imread(str(tmp_path / "docs/x.png")) is not None
    # runs of different names in one folder are no seeds of each other
    code, _, said = call(tmp_path / "x")
    assert code == 2 and "no curve.csv" in said and said.count("\n") == 1


def test_a_curve_is_what_pandas_reads(tmp_path: Path) -> None:
    make_run(tmp_path, [0.25, 0.5])
    assert pd.read_csv(tmp_path / "curve.csv")["mIoU"].tolist() == [0.25, 0.5]
