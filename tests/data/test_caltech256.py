"""Caltech-256: its layout, the test split carved out of it, its clutter left out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from class_trees import write_image, write_tree

from seg_al.config import UserError
from seg_al.data.caltech256 import Caltech256
from seg_al.data.check import check

FOLDER = "256_ObjectCategories"


def write(root: Path, counts: dict[str, int]) -> None:
    for name, count in counts.items():
        write_tree(root / FOLDER, {name: count}, pattern=f"{name[:3]}_{{:04d}}")


COUNTS = {"001.ak47": 14, "002.american-flag": 30, "256.toad": 12, "257.clutter": 9}


def ids(dataset: Caltech256) -> dict[str, list[str]]:
    return {split: list(dataset.samples(split).ids) for split in ("train", "val", "test")}


def test_ten_images_of_each_class_are_the_test_and_clutter_is_nobodys(tmp_path: Path) -> None:
    write(tmp_path, COUNTS)
    dataset = Caltech256(root=str(tmp_path), val_images=6)
    assert dataset.class_names == ("ak47", "american-flag", "toad")
    found = ids(dataset)
    assert [name[:3] for name in found["test"]] == ["001"] * 10 + ["002"] * 10 + ["256"] * 10
    assert {split: len(names) for split, names in found.items()} == {"train": 56 - 30 - 6, "val": 6, "test": 30}
    everything = sorted(name for names in found.values() for name in names)
    assert everything == sorted(f"{name}/{name[:3]}_{k:04d}" for name in list(COUNTS)[:3] for k in range(COUNTS[name]))
    test = dataset.samples("test")
    assert [int(test.target(i)) for i in (0, 10, 29)] == [0, 1, 2]


def test_splits_depend_on_names_alone(tmp_path: Path) -> None:
    write(tmp_path / "one", COUNTS)
    for name in reversed(COUNTS):
        write(tmp_path / "two", {name: COUNTS[name]})
    (tmp_path / "two" / FOLDER / "002.american-flag" / "RENAME2").touch()
    settings = [{"root": str(tmp_path / "one")}, {"root": str(tmp_path / "two" / FOLDER)}]
    assert ids(Caltech256(val_images=6, **settings[0])) == ids(Caltech256(val_images=6, **settings[1]))
    (tmp_path / "three").mkdir()
    (tmp_path / "one").rename(tmp_path / "three" / "caltech256")  # as torchvision unpacks it
    assert len(Caltech256(root=str(tmp_path / "three"), val_images=6).samples("test")) == 30


def test_val_takes_its_share_of_small_classes_too(tmp_path: Path) -> None:
    """Where one ranking served test and val, classes that gave half their images to test would give none to val."""
    write(tmp_path, {f"{k:03d}.small": 20 for k in range(1, 11)} | {"011.large": 300})
    val = Caltech256(root=str(tmp_path), val_images=130).samples("val")
    small = sum(int(val.target(i)) < 10 for i in range(len(val)))
    # 130 of the 390 left, 100 of which are of small classes: 33.3 expected, standard deviation 4.1
    assert 21 <= small <= 46


def test_gray_images_are_read_as_rgb(tmp_path: Path) -> None:
    write(tmp_path, {"001.a": 12, "002.b": 12})
    gray = write_image(tmp_path / FOLDER / "001.a" / "001_0000.png", 5, gray=True)
    dataset = Caltech256(root=str(tmp_path), val_images=0, test_per_class=1)
    samples = next(s for s in map(dataset.samples, ("train", "test")) if "001.a/001_0000" in s.ids)
    where = samples.ids.index("001.a/001_0000")
    assert samples.image(where).shape == (8, 10, 3)
    np.testing.assert_array_equal(samples.image(where), gray)


def test_problems_are_told_together(tmp_path: Path) -> None:
    write(tmp_path, {"001.a": 10, "002.b": 3, "003.c": 12})
    (tmp_path / FOLDER / "003.c" / "003_0001.jpg").touch()
    write_image(tmp_path / FOLDER / "stray.png", 0)
    with pytest.raises(UserError) as error:
        Caltech256(root=str(tmp_path), val_images=0).samples("train")
    for part in ("001.a has 10, 002.b has 3", "003_0001.jpg and 003_0001.png", "stray.png"):
        assert part in str(error.value)
    with pytest.raises(UserError, match="test_per_class must be 1 or more, not 0"):
        Caltech256(test_per_class=0)


def test_how_to_get_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEG_AL_DATA", raising=False)
    for root, what in (("nowhere", "no such folder"), ("", f"expected {FOLDER}/, found nothing")):
        with pytest.raises(UserError, match=rf"{what}.*fetch {FOLDER}\.tar from https://data\.caltech\.edu"):
            Caltech256(root=str(tmp_path / root)).samples("train")


def test_real_images() -> None:
    root = Path(os.environ.get("SEG_AL_DATA", "/nonexistent")) / "caltech_mini"
    if not root.is_dir():
        pytest.skip("needs $SEG_AL_DATA/caltech_mini")
    dataset = Caltech256(root=str(root), val_images=100)
    report = check(dataset, decode_images=False)
    assert report.problems == [] and len(dataset.class_names) == 10
    assert report.splits["test"].images_with.tolist() == [10] * 10
    total = sum(split.images_with for split in report.splits.values())
    assert total.tolist() == [60] * 10
    train = dataset.samples("train")  # its last class, car_side, is of gray images
    image = train.image(len(train) - 1)
    assert image.shape[2] == 3 and np.ptp(image, axis=2).max() == 0
