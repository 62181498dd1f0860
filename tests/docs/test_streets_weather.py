"""The published script that splits a Streets study by weather says what its runs say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import imported

from seg_al import load
from seg_al.reporting.reading import read_run
from seg_al.reporting.runs import FIRST
from seg_al.study import Key

CONFIG = """
from tiny import TinyModel
from seg_al import Entropy, Experiment, Machine, Random, Streets, Study, Train

config = Study(
    base=Experiment(
        dataset=Streets(train=60, val=2, test=20, native=(32, 48), run_length=1),
        model=TinyModel(),
        strategy=Random(),
        initial=4,
        budget=20,
        rounds=2,
        train=Train(epochs=1),
        machine=Machine(accelerator="cpu", workers=0),
    ),
    strategies={"random": Random(), "entropy": Entropy()},
    seeds=(0, 1),
)
"""


@pytest.fixture
def script() -> Iterator[ModuleType]:
    with imported("docs/results/streets_weather.py") as module:
        yield module


def test_streets_by_weather(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.py").write_text(CONFIG)
    study = load("study.py")
    for key in study.keys():
        study.run(key)
    capsys.readouterr()
    script.main("study.py")
    said = capsys.readouterr().out

    # of 20 frames, 3 are by night; the 3 in snow or fog may be among these
    dealt = re.match(r"(\d+) % of the pool .* and (\d+) of 20 test frames", said)
    assert 15 <= int(dealt[1]) <= 30 and 3 <= int(dealt[2]) <= 6
    pool = study.base.dataset.samples("train")
    for name in study.strategies:
        queries = [read_run(study.experiment(Key(name, seed)).directory).rounds[0].query.ids for seed in study.seeds]
        modes = [pool.mode(pool.ids.index(image)) for query in queries for image in query]
        share = np.mean([time == "night" or weather in {"snow", "fog"} for time, weather in modes])
        assert f"| {name} | {100 * share:.0f} % |" in said

    judge = script.Judge(study)
    judge.parts = {"all": np.ones(20, bool), **judge.parts}
    run = study.experiment(Key(FIRST, 0)).directory
    scores = judge.miou(run / "rounds" / "00" / "model.pt")
    assert scores["all"] == read_run(run).rounds[0].score
    assert scores["rough"] != scores["fair"]
