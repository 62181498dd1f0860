"""The tools as a user meets them: commands, exit codes, one line for a mistake, and a kill -9."""

from __future__ import annotations

import csv
import signal
import textwrap
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from background import start
from conftest import ROOT, Done, Tool

CONFIG = """
    from seg_al import Entropy, Experiment, FolderSegmentation, Train
    from tiny import TinyModel
    config = Experiment(
        dataset=FolderSegmentation(root="data", classes=("road", "pothole"), size=(16, 16)),
        model=TinyModel(), strategy=Entropy(), initial=4, budget=2, rounds=2,
        train=Train(epochs=1, batch_size=4),
    )
"""


def make_data(folder: Path, count: int = 20) -> Path:
    """Write a folder of images and masks; names hold spaces and letters beyond ASCII."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / "data" / kind).mkdir(parents=True)
    for index in range(count):
        name = f"straße {index:02d} 道路"
        mask = np.zeros((24, 20), np.uint8)
        mask[rng.integers(0, 20) :] = 1
        image = rng.integers(0, 80, (24, 20, 3)).astype(np.uint8) + 120 * mask[..., None]
        cv2.imencode(".jpg", image)[1].tofile(folder / "data" / "images" / f"{name}.jpg")
        cv2.imencode(".png", mask)[1].tofile(folder / "data" / "masks" / f"{name}.png")
    return folder / "data"


def write_config(folder: Path, text: str = CONFIG) -> Path:
    (folder / "mine.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return folder / "mine.py"


def assert_refused(done: Done, *parts: str) -> None:
    """The tool said what is wrong on one line and left with code 2."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for part in parts:
        assert part in lines[0], f"{part!r} is not in {lines[0]!r}"


def test_a_folder_of_ones_own_with_names_beyond_ascii(tool: Tool, tmp_path: Path) -> None:
    make_data(tmp_path)
    done = tool("train_al.py", write_config(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [line[:9] for line in done.stdout.splitlines()[1:]] == ["round 1/2", "round 2/2"]
    query = (tmp_path / "runs" / "mine" / "seed0" / "rounds" / "00" / "query.csv").read_text(encoding="utf-8")
    assert "straße" in query and "道路" in query


def damage(data: Path, kind: str) -> None:
    images, masks = sorted((data / "images").iterdir()), sorted((data / "masks").iterdir())
    if kind == "no root":
        data.rename(data.with_name("elsewhere"))
    elif kind == "wrong layout":
        (data / "images").rename(data / "pictures")
    elif kind == "root is a file":
        data.rename(data.with_name("elsewhere"))
        data.write_text("")
    elif kind == "no masks":
        for mask in masks:
            mask.unlink()
    elif kind == "image without mask":
        masks[3].unlink()
    elif kind == "mask without image":
        images[3].unlink()
    elif kind == "sizes differ":
        cv2.imencode(".png", np.zeros((5, 6), np.uint8))[1].tofile(masks[3])
    elif kind == "unknown label":
        mask = np.zeros((24, 20), np.uint8)
        mask[0, :7] = 9
        cv2.imencode(".png", mask)[1].tofile(masks[3])
    elif kind == "truncated":
        images[3].write_bytes(images[3].read_bytes()[:-20])
    elif kind == "empty":
        masks[3].write_bytes(b"")
    elif kind == "directory":
        masks[3].unlink()
        masks[3].mkdir()
    elif kind == "duplicate ids":
        cv2.imencode(".png", np.zeros((24, 20, 3), np.uint8))[1].tofile(images[3].with_suffix(".png"))


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("no root", ["data"]),
        ("wrong layout", ["pictures", "images"]),
        ("root is a file", ["data"]),
        ("no masks", ["mask"]),
        ("image without mask", ["straße 03"]),
        ("mask without image", ["straße 03"]),
        ("sizes differ", ["straße 03", "24", "5"]),
        ("unknown label", ["straße 03", "9", "7"]),
        ("truncated", ["straße 03"]),
        ("empty", ["straße 03", "empty"]),
        ("directory", ["straße 03"]),
        ("duplicate ids", ["straße 03"]),
    ],
)
def test_bad_data_is_refused_before_anything_is_written(
    tool: Tool, tmp_path: Path, kind: str, parts: list[str]
) -> None:
    damage(make_data(tmp_path), kind)
    assert_refused(tool("train_al.py", write_config(tmp_path)), *parts)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--initial", "50"], ["initial is 50", "pool"]),
        (["--budget", "50"], ["queries of 50", "pool"]),
        (["--rounds", "0"], ["rounds is 0"]),
        (["--train.epoch", "3"], ["--train.epoch", "--train.epochs"]),
        (["--train.epochs", "x"], ["--train.epochs", "'x'"]),
        (["--dataset.classes", "road"], ["1", "classes"]),
        (["--machine.output", "mine.py"], ["mine.py", "cannot write"]),
        (["--train.lr", "1e30", "--train.epochs", "4"], ["loss is not finite", "round 1/2", "in epoch 1, batch 0"]),
    ],
)
def test_bad_options_are_one_line(tool: Tool, tmp_path: Path, arguments: list[str], parts: list[str]) -> None:
    make_data(tmp_path)
    assert_refused(tool("train_al.py", write_config(tmp_path), *arguments), *parts)


@pytest.mark.parametrize("name", ["run_study.py", "check_data.py"])
def test_help_after_a_config_lists_its_settings_too(tool: Tool, name: str) -> None:
    config = ROOT / "configs" / "camvid_study.py"
    done = tool(name, config, "--help")
    assert done.returncode == 0 and "--base.train.epochs" in done.stdout and "-h, --help" in done.stdout
    assert "--base.train.epochs" not in tool(name, "--help").stdout


def test_an_option_of_the_tool_is_named_where_it_is_nearest(tool: Tool) -> None:
    done = tool("run_study.py", ROOT / "configs" / "camvid_study.py", "--worker", "2")
    assert_refused(done, "no option --worker; did you mean --workers?")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x = 1", ["mine.py", "needs a variable `config`"]),
        ("config = (", ["mine.py:1", "never closed"]),
        ("from seg_al import Random\nconfig = Random()", ["mine.py", "`config` is a Random, not an Experiment"]),
        ("from seg_al import Train\nconfig = Train()", ["mine.py", "`config` is a Train, not an Experiment"]),
        ("from seg_al import Train\nconfig = Train(epoch=2)", ["mine.py:2", "did you mean 'epochs'"]),
    ],
)
def test_bad_configs_are_one_line(tool: Tool, tmp_path: Path, text: str, parts: list[str]) -> None:
    assert_refused(tool("train_al.py", write_config(tmp_path, text)), *parts)


def test_a_config_that_is_not_there(tool: Tool, tmp_path: Path) -> None:
    write_config(tmp_path)
    assert_refused(tool("train_al.py", "mina.py"), "mina.py", "did you mean 'mine.py'")


def test_check_data_counts_classes_and_draws_a_sheet(tool: Tool, tmp_path: Path) -> None:
    make_data(tmp_path)
    done = tool("check_data.py", write_config(tmp_path), "--out", "sheet.png")
    assert done.returncode == 0, done.stderr
    assert "pothole" in done.stdout
    assert cv2.imread(str(tmp_path / "sheet.png")).std() > 5
    damage(tmp_path / "data", "unknown label")
    done = tool("check_data.py", write_config(tmp_path), "--out", "sheet.png")
    assert done.returncode == 2 and "straße 03" in done.stdout + done.stderr


KILLED = """
    from tiny import tiny_experiment
    from seg_al import VAAL, Train
    config = tiny_experiment(
        "runs", name="killed", strategy=VAAL(latent=4, epochs=3, batch_size=8), train=Train(epochs=6, batch_size=4)
    )
"""


def outcome(run: Path) -> dict[str, object]:
    found: dict[str, object] = {str(f.relative_to(run)): f.read_text() for f in sorted(run.glob("rounds/*/query.csv"))}
    with open(run / "curve.csv") as lines:
        found["curve"] = [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(lines)]
    return found


def test_kill_9_and_the_same_command_again(tmp_path: Path) -> None:
    write_config(tmp_path, KILLED)
    assert start("train_al.py", tmp_path, "mine.py", "--machine.output", "whole").wait() == 0
    run = tmp_path / "runs" / "killed" / "seed0"
    for delay in (0.05, 0.4, 0.8):  # seconds after the run directory appears
        process = start("train_al.py", tmp_path, "mine.py")
        state = run / "state.json"
        before = state.read_text() if state.exists() else None
        while process.poll() is None and (not state.exists() or state.read_text() == before):
            time.sleep(0.02)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start("train_al.py", tmp_path, "mine.py")
    assert process.wait() == 0, process.stderr.read() if process.stderr else ""
    assert outcome(run) == outcome(tmp_path / "whole" / "killed" / "seed0")


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    write_config(tmp_path, KILLED)
    process = start("train_al.py", tmp_path, "mine.py", "--train.epochs", "1000000")
    while not (tmp_path / "runs" / "killed" / "seed0" / "state.json").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    second = start("train_al.py", tmp_path, "mine.py", "--train.epochs", "1000000")
    assert "another process is working on this run" in second.communicate()[1] and second.returncode == 2
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 2
    assert said.strip().splitlines()[-1] == "interrupted: what was done is kept; run the same command to continue"
    assert "Traceback" not in said
