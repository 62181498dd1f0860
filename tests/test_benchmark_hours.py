"""tools/benchmark_hours.py counts the images that a run computes on, and the operations that others count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import Tool, imported
from tiny import tiny_experiment

from seg_al import VAAL, VGG, CoreSet, Segmentation, Train
from seg_al.metrics import ConfusionMatrix
from seg_al.models.vae import VAE
from seg_al.strategies.adversarial import LatentDiscriminator


@pytest.fixture(scope="module")
def hours() -> Iterator[ModuleType]:
    with imported("tools/benchmark_hours.py") as module:
        yield module


def counting(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, images: Counter[str], name: str) -> None:
    """Count the images, or targets, given to a method as its last argument of a length."""
    original = getattr(owner, method)

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        images[name] += len(next(a for a in reversed(arguments) if hasattr(a, "__len__")))
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, method, counted)


@pytest.mark.parametrize(("epoch_of", "keep"), [("labeled", "last"), ("pool", "best")])
def test_the_images_of_each_part_are_those_of_a_real_run(
    hours: ModuleType, epoch_of: Any, keep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = VAAL(latent=2, epochs=2, batch_size=3, vae_steps=2, size=(32, 32), epoch_of=epoch_of)
    train = Train(epochs=3, batch_size=4, accumulate=2, epoch_of=epoch_of, keep=keep, validate_every=2)
    experiment = tiny_experiment(tmp_path, strategy=strategy, train=train)
    images: Counter[str] = Counter()
    counting(monkeypatch, Segmentation, "loss", images, "train")
    counting(monkeypatch, ConfusionMatrix, "update", images, "evaluate")
    counting(monkeypatch, VAE, "forward", images, "VAAL")
    counting(monkeypatch, LatentDiscriminator, "posteriors", images, "score")
    monkeypatch.setattr("seg_al.experiment.rehearse", lambda *_: None)  # a few images more, once
    experiment.run()
    counted = dict(images)
    found = hours.parts(experiment, hours.Bench(None, 0))
    assert set(counted) == {"train", "evaluate", "VAAL", "score"}
    assert {part.name: part.images for part in found} == counted


def test_operations_are_those_published(hours: ModuleType) -> None:
    # timm's results/benchmark-infer-*.csv: vgg16 at 224x224 has 15.47 billion multiplications with their additions
    network = VGG(arch="vgg16", input="large").build(1000).eval()
    assert hours.operations(network, (224, 224)) == pytest.approx(2 * 15.47e9, rel=1e-3)


def test_the_warm_up_is_not_timed(hours: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 16.0])
    monkeypatch.setattr(hours.time, "perf_counter", lambda: next(now))
    clock = hours.Clock(torch.device("cpu"), 3)
    for _ in range(clock.needed):
        clock.tick()
    assert clock.seconds == 2.0 and next(now, None) is None


CONFIG = """
from tiny import tiny_experiment
from seg_al import VAAL, Train
# so many epochs that the trainings take hours
config = tiny_experiment(
    "runs", strategy=VAAL(latent=2, epochs=10**6, batch_size=2, size=(32, 32)), train=Train(epochs=10**6, batch_size=4)
)
"""


def test_hours_are_images_by_rate(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CONFIG)
    done = tool("benchmark_hours.py", "mine.py", "--steps", "1", "--accelerator", "cpu")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert rows[0][-4:] == ["1", "CPU", "threads,", "32-true"]
    assert [row[1] for row in rows] == ["train", "evaluate", "VAAL", "score", "all"]
    total = 0.0
    for row in rows[:-1]:
        images, rate, shown = 1e6 * float(row[4]), float(row[7]), float(row[9])
        total += images / rate / 3600
        assert shown == pytest.approx(images / rate / 3600, rel=0.01, abs=0.006)
    assert float(rows[-1][-1]) == pytest.approx(total, rel=0.01, abs=0.02) and total > 1


def test_without_steps_it_counts_alone(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CONFIG)
    done = tool("benchmark_hours.py", "mine.py", "--steps", "0")
    assert done.returncode == 0, done.stderr
    assert [len(line.split()) for line in done.stdout.splitlines()[2:]] == [7] * 4


def test_another_strategy_has_the_task_models_parts(hours: ModuleType, tmp_path: Path) -> None:
    experiment = tiny_experiment(tmp_path, strategy=CoreSet())
    assert [part.name for part in hours.parts(experiment, hours.Bench(None, 0))] == ["train", "evaluate"]


UNSIZED = """
from dataclasses import replace
from tiny import TinyScenes, tiny_experiment
config = replace(tiny_experiment("runs"), dataset=TinyScenes())
"""


@pytest.mark.parametrize(
    ("config", "arguments", "said"),
    [
        (CONFIG, ("--steps", "-1"), "--steps must be 0 or more, not -1"),
        ("from seg_al import Random\nconfig = Random()", (), "mine.py: `config` is a Random, not an Experiment"),
        (UNSIZED, (), "tiny: the images differ in size; give the data set a size=(height, width)"),
    ],
    ids=["steps", "no experiment", "no size"],
)
def test_bad_input_gets_one_line(
    tool: Tool, tmp_path: Path, config: str, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "mine.py").write_text(config)
    done = tool("benchmark_hours.py", "mine.py", *arguments)
    assert done.returncode == 2
    assert done.stderr == f"error: {said}\n"
