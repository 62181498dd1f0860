"""Whole runs on real photographs in the layouts of ImageNet and Caltech-256, gray ones among them."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_al import BADGE, Classification, CoreSet, Experiment, ResNet, Train
from seg_al.data import index
from seg_al.data.base import Dataset
from seg_al.data.caltech256 import Caltech256
from seg_al.data.imagenet import ImageNet
from seg_al.machine import Machine

DATA = Path(os.environ.get("SEG_AL_DATA", "/nonexistent"))
SIZES = {"size": (32, 32), "val_images": 100, "pool_images": 60}


def splits(dataset: Dataset) -> dict[str, list[str]]:
    return {split: list(dataset.samples(split).ids) for split in ("train", "val", "test")}


@pytest.mark.parametrize("name", ["imagenette_mini", "caltech_mini"])
def test_two_rounds_on_real_images(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = DATA / name
    if not root.is_dir():
        pytest.skip(f"needs $SEG_AL_DATA/{name}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    index._indexed.cache_clear()
    dataset: Dataset
    if name == "imagenette_mini":
        dataset, files, strategy = ImageNet(root=str(root), test_images=60, **SIZES), root, CoreSet()
    else:
        dataset, strategy = Caltech256(root=str(root), test_per_class=3, **SIZES), BADGE()
        files = root / "256_ObjectCategories"

    ids = splits(dataset)
    assert {split: len(listed) for split, listed in ids.items()} == {
        "train": 60, "val": 100, "test": 60 if name == "imagenette_mini" else 30,
    }  # fmt: skip
    assert len(set().union(*ids.values())) == sum(map(len, ids.values()))
    index._indexed.cache_clear()
    assert splits(replace(dataset)) == ids

    run = Experiment(
        name="real", dataset=dataset, model=ResNet(arch="resnet18", width=0.125), task=Classification(),
        strategy=strategy, initial=20, budget=15, rounds=2, train=Train(epochs=2, batch_size=10),
        machine=Machine(output=str(tmp_path), accelerator="cpu", workers=0),
    ).run()  # fmt: skip
    for number in range(2):
        test = json.loads((run / "rounds" / f"{number:02d}" / "metrics.json").read_text())["test"]
        per_class = test["accuracy_per_class"]
        assert list(per_class) == list(dataset.class_names) and len(per_class) == 10
        assert 0 <= test["accuracy"] <= test["top5"] <= 1

    query = [row["id"] for row in csv.DictReader((run / "rounds" / "00" / "query.csv").open())]
    labeled = (run / "rounds" / "01" / "labeled.txt").read_text().split("\n")[:-1]
    assert len(labeled) == len(set(labeled)) == 35 and labeled[20:] == query
    for split, used in (("train", labeled), ("test", ids["test"])):
        samples, gray = dataset.samples(split), 0
        for sample in used:
            (file,) = [path for path in (files / sample).parent.glob("*") if path.stem == Path(sample).name]
            where = samples.ids.index(sample)
            assert file.parent.name == Path(sample).parts[-2]
            with Image.open(file) as picture:
                image = samples.image(where)
                assert image.shape == (picture.height, picture.width, 3) and image.dtype == np.uint8
                if picture.mode == "L":
                    gray += 1
                    assert (image == np.asarray(picture)[..., None]).mean() > 0.99  # decoders may differ by rounding
        assert gray > 0, split
