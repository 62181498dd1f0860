"""Every config that comes with the package runs: on stand-ins in its data set's layout, with smaller numbers."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest
from class_trees import write_image, write_tree
from conftest import ROOT
from torchvision import datasets

from seg_al import Experiment, OwnPool, ask, load
from seg_al.config import Component
from seg_al.data.files import find_root
from seg_al.machine import Machine
from seg_al.models import drn
from seg_al.oracle import NoisyOracle
from seg_al.pool import MissingClasses

CONFIGS = sorted((ROOT / "configs").glob("*.py"))

POOL, VAL, TEST, INITIAL, BUDGET = 32, 4, 12, 12, 4

SIZE = (32, 64)
"""Of images that are larger: not square, since VAAL has a VAE of its own for 32x32."""

MOST = {
    "initial": INITIAL, "budget": BUDGET, "rounds": 2,
    "train": POOL, "val": VAL, "test": TEST, "pool_images": POOL, "val_images": VAL, "test_images": TEST,
    "test_per_class": 2, "epochs": 1, "batch_size": 16, "evaluation_batch_size": 16, "width": 1 / 16,
    "latent": 8, "members": 2, "passes": 2,
}  # fmt: skip
"""The largest number for settings that say how many, by name."""


def shrunk(component: Component) -> Any:
    """Return a component with smaller sizes and counts and no pretrained weights, and so its components."""
    small: dict[str, Any] = {}
    for field in fields(component):  # type: ignore[arg-type]
        name, value = field.name, getattr(component, field.name)
        if isinstance(value, Component):
            small[name] = shrunk(value)
        elif isinstance(value, dict):
            small[name] = {key: shrunk(part) for key, part in value.items()}
        elif name == "seeds":
            small[name] = (1,)
        elif name == "weights":
            small[name] = None
        elif name == "encoder":
            small[name] = "tu-test_efficientnet"
        elif name in ("size", "native") and isinstance(value, tuple):
            small[name] = min(value, SIZE)
        elif name == "size" and value is not None:
            small[name] = min(value, INITIAL)  # of the initial pool
        elif name in MOST and value is not None:
            small[name] = min(value, MOST[name])
    return replace(component, **small)  # type: ignore[type-var]


def masks(count: int, labels: tuple[int, ...], seed: int) -> Iterator[np.ndarray]:
    """Return masks of 36x48 pixels in blocks of random labels, void among them."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield rng.choice(labels, (6, 8)).repeat(6, 0).repeat(6, 1)


@pytest.fixture(scope="module", autouse=True)
def _data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All data sets under the names that the configs give them, in $SEG_AL_DATA."""
    root = tmp_path_factory.mktemp("data")
    for k, ids in enumerate(masks(POOL, tuple(range(12)), 0)):
        layouts.camvid(root / "camvid", "train", f"{('0001TP', '0001TP', '0006R0', '0016E5')[k % 4]}_{k:06}", ids)
    for k, ids in enumerate(masks(TEST, tuple(range(12)), 1)):
        layouts.camvid(root / "camvid", "test", f"Seq05VD_{k:06}", ids)
        layouts.camvid(root / "camvid", "val", f"0016E5_{k:06}", ids)
    for split, count in (("train", POOL + VAL), ("val", TEST)):
        for k, ids in enumerate(masks(count, (*range(34), 255), 2)):
            layouts.cityscapes(root / "cityscapes", split, f"{('aachen', 'ulm')[k % 2]}_{k:06}_000019", ids)
        for k, ids in enumerate(masks(count, (*range(19), 255), 3)):
            layouts.bdd100k(root / "bdd100k", split, f"{k:08x}-d4dff0ad", ids)
    for k, ids in enumerate(masks(45, (0, 1, 255), 4)):
        layouts.images_and_masks(root / "data" / "potholes", f"site {k % 2}/{k:03}", ids)

    for number in range(1, 7):
        name = f"{number:03}.kind{number}"
        write_tree(root / "caltech256" / "256_ObjectCategories", {name: 8}, ".jpg", f"{number:03}_{{:04d}}")
    write_tree(root / "caltech256" / "256_ObjectCategories", {"257.clutter": 3}, ".jpg", "257_{:04d}")
    wnids = [f"n{number:08}" for number in range(1, 7)]
    write_tree(root / "imagenet" / "train", dict.fromkeys(wnids, 6), ".JPEG", "x_{}")
    write_tree(root / "imagenet" / "val", dict.fromkeys(wnids, 2), ".JPEG", "ILSVRC2012_val_{:08}")
    write_image(root / "caltech256" / "256_ObjectCategories" / "001.kind1" / "001_0000.jpg", 0, gray=True)
    write_image(root / "imagenet" / "train" / wnids[0] / "x_0.JPEG", 0, gray=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEG_AL_DATA", str(root))
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        # 18 classes of 100, twice each: a start of 12 images that misses 10 of them is no accident
        few, many = 5 * np.arange(18).repeat(2), np.arange(10).repeat(4)
        layouts.cifar(root / "cifar10", datasets.CIFAR10, many[: POOL + VAL], many[:TEST], patch)
        layouts.cifar(root / "cifar100", datasets.CIFAR100, few, few[:TEST], patch)
        yield


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what is the same for all configs: drawing figures, and checkpoints within a training."""
    monkeypatch.setattr("matplotlib.figure.Figure.draw", lambda *_: None)
    monkeypatch.setattr("seg_al.phase.Phase._save", lambda *_: None)
    # a DRN has no setting of its width
    stages = {number: stage._replace(planes=stage.planes // 16) for number, stage in drn._STAGES.items()}
    monkeypatch.setattr(drn, "_STAGES", stages)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder, gone afterwards: weights take much room."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_runs(path: Path, folder: Path) -> None:
    whole = load(path)
    machine = Machine(output=str(folder), accelerator="cpu", workers=0)
    if isinstance(whole, Experiment):
        # with seed 1, 2 of the first 12 labels are wrong where the oracle is noisy
        config = replace(shrunk(whole), seed=1, machine=machine)
        check(path, whole, config, config.run())
    elif isinstance(whole, OwnPool):
        data = folder / "some labeled"
        shutil.copytree(find_root(whole.dataset.root), data)
        masks = sorted(data.glob("masks/**/*.png"))
        for mask in masks[12:]:
            mask.unlink()
        small = shrunk(whole)
        pool = replace(small, dataset=replace(small.dataset, root=data), machine=machine)
        labeled = {mask.relative_to(data / "masks").with_suffix("").as_posix() for mask in masks[:12]}
        query = ask(pool)
        assert len(set(query.ids)) == BUDGET and not set(query.ids) & labeled
    else:
        small = shrunk(whole)
        study = replace(small, base=replace(small.base, machine=machine))
        runs = {key: study.run(key) for key in study.keys()}
        for key, run in runs.items():
            if key.name in study.strategies:
                check(path, whole.base, study.experiment(key), run)
        assert (len(runs) == 2 + len(whole.strategies)) == whole.full


def check(path: Path, whole: Experiment, config: Experiment, run: Path) -> None:
    """Check what a run of a shrunk config left."""
    initial = min(INITIAL, whole.initial) if isinstance(whole.initial, int) else INITIAL
    samples = config.dataset.samples("train")
    assert len(samples) == POOL

    metrics = [json.loads((run / "rounds" / r / "metrics.json").read_text()) for r in ("00", "01")]
    curve = list(csv.DictReader((run / "curve.csv").open()))
    assert [(row["round"], row["labeled"]) for row in curve] == [("0", str(initial)), ("1", str(initial + BUDGET))]
    name = "accuracy" if path.stem.startswith(("cifar", "caltech", "imagenet")) else "mIoU"
    assert [float(row[name]) for row in curve] == [measured["test"][name] for measured in metrics]
    assert all(0 <= float(row[name]) <= 1 for row in curve)

    query = [row["id"] for row in csv.DictReader((run / "rounds" / "00" / "query.csv").open())]
    first, second = ((run / "rounds" / r / "labeled.txt").read_text().splitlines() for r in ("00", "01"))
    assert len(set(query)) == len(query) == BUDGET and len(set(first)) == len(first) == initial
    assert second == first + query and len(set(second)) == initial + BUDGET and set(second) <= set(samples.ids)
    assert not (run / "rounds" / "01" / "query.csv").exists()

    assert isinstance(config.oracle, NoisyOracle) == ("_noisy_" in path.stem)
    if "_noisy_" in path.stem:
        labels = config.oracle.labels(config.dataset, samples, config.seed)
        for measured, ids in zip(metrics, (first, second), strict=True):
            places = [samples.ids.index(name) for name in ids]
            wrong = [labels.target(place) != samples.target(place) for place in places]
            assert measured["diagnostics"]["oracle"]["noise_rate"] == pytest.approx(np.mean(wrong))
            assert 2 <= sum(wrong) <= 4  # all 32 images of the pool hold 4

    if path.stem == "camvid_biased_study":
        assert {name[:6] for name in first} == {"0001TP"} != {name[:6] for name in query}
        return
    if path.stem == "streets_biased_study":
        modes = [samples.mode(samples.ids.index(name)) for name in first]
        assert not {mode for pair in modes for mode in pair} & {"night", "snow", "fog"}
        return
    assert isinstance(config.initial, MissingClasses) == ("_biased_" in path.stem)
    if path.stem.startswith("cifar100"):
        class_of = {name: int(samples.target(place)) for place, name in enumerate(samples.ids)}
        missing = set(class_of.values()) - {class_of[name] for name in first}
        assert (len(missing) >= 10) == ("_biased_" in path.stem)
