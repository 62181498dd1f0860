"""The whole loop on a classification data set: the same loop, another task."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import TinyClassifier, tiny_experiment

from seg_al import Classification, Entropy, Experiment, Random, Train
from seg_al.data.folder_classification import FolderClassification
from seg_al.data.views import EvaluationView, ImageView
from seg_al.round import Round
from seg_al.strategies.base import Selection

NAMES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three colours, of sizes that differ."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for channel, name in zip((2, 1, 0), NAMES, strict=True):
        for number in range(16):
            pixels = rng.integers(0, 60, (20 + number, 24, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root


def experiment(folder: Path, output: Path, **changes: object) -> Experiment:
    settings: dict = {
        "dataset": FolderClassification(root=str(folder), size=(16, 16), fractions=(0.125, 0.25)),
        "model": TinyClassifier(),
        "task": Classification(),
        "initial": 9,
        "train": Train(epochs=10, batch_size=4, lr=3e-2),
    }
    return tiny_experiment(output, **{**settings, **changes})


@pytest.mark.parametrize("strategy", [Random(), Entropy()], ids=["random", "entropy"])
def test_a_run_leaves_the_published_format(folder: Path, tmp_path: Path, strategy: Random) -> None:
    run = experiment(folder, tmp_path, strategy=strategy).run()
    for number, labeled in enumerate((9, 12, 15)):
        place = run / "rounds" / f"{number:02d}"
        metrics = json.loads((place / "metrics.json").read_text())
        test = metrics["test"]
        assert (metrics["labeled"], metrics["fraction"]) == (labeled, labeled / 30)
        assert list(test) == ["accuracy", "top5", "accuracy_per_class"]
        assert set(test["accuracy_per_class"]) == set(NAMES)
        assert test["top5"] == 1.0  # of three classes
        assert (place / "query.csv").exists() == (number < 2)
    assert test["accuracy"] > 0.75  # three plain colours
    curve = list(csv.DictReader((run / "curve.csv").open()))
    assert [row["labeled"] for row in curve] == ["9", "12", "15"]
    assert float(curve[-1]["accuracy"]) == test["accuracy"]
    assert (run / "curve.png").read_bytes()[:4] == b"\x89PNG"
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    assert {"test/accuracy", "test/accuracy_per_class/red", "train/loss"} <= set(events.Tags()["scalars"])
    assert {"query", "test/predictions"} <= set(events.Tags()["images"])


def test_the_accuracy_is_that_of_the_saved_weights_on_the_test_images(folder: Path, tmp_path: Path) -> None:
    setting = experiment(folder, tmp_path, rounds=1, train=Train(epochs=2, batch_size=4, lr=1e-2))
    run = setting.run()
    network = TinyClassifier().build(3).eval()
    network.load_state_dict(torch.load(run / "rounds" / "00" / "model.pt", weights_only=True))
    right = []
    for name in setting.dataset.samples("test").ids:
        pixels = cv2.imread(str(folder / f"{name}.png"))[..., ::-1]
        small = cv2.resize(pixels, (16, 16), interpolation=cv2.INTER_AREA)
        with torch.no_grad():
            logits = network(torch.tensor(small / 255.0, dtype=torch.float32).permute(2, 0, 1)[None])
        right.append(NAMES[int(logits.argmax())] == name.partition("/")[0])
    test = json.loads((run / "rounds" / "00" / "metrics.json").read_text())["test"]
    assert len(right) == 12 and 0 < sum(right) < 12
    assert test["accuracy"] == pytest.approx(sum(right) / 12)


@pytest.mark.parametrize("fit", ["resize", "crop"])
def test_scoring_sees_images_as_evaluation_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: str
) -> None:
    seen: list[ImageView] = []
    choose = Random.select

    def select(self: Random, round: Round, budget: int) -> Selection:
        seen.append(round.unlabeled)
        return choose(self, round, budget)

    monkeypatch.setattr(Random, "select", select)
    dataset = FolderClassification(root=str(folder), size=(16, 12), fit=fit, fractions=(0.125, 0.25))
    train = Train(epochs=2, batch_size=4, keep="best")  # also by accuracy
    experiment(folder, tmp_path, dataset=dataset, train=train, rounds=2).run()
    (view,) = seen
    evaluated, samples = EvaluationView(dataset, dataset.samples("train")), dataset.samples("train")
    for position, name in enumerate(view.ids):
        assert torch.equal(view[position], evaluated[samples.ids.index(name)][0])
