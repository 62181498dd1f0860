"""A person's own images in a folder for each class."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from class_trees import write_image, write_tree

from seg_al.config import UserError
from seg_al.data.check import check, preflight
from seg_al.data.folder_classification import FolderClassification

PETS = {"cat": 12, "dog": 8}


def test_a_folder_for_each_class_is_split_by_fractions_the_same_way_each_time(tmp_path: Path) -> None:
    write_tree(tmp_path / "one", PETS)
    write_tree(tmp_path / "two", dict(reversed(PETS.items())))
    one, two = (FolderClassification(root=str(tmp_path / name)) for name in ("one", "two"))
    ids = {split: list(one.samples(split).ids) for split in ("train", "val", "test")}
    assert {split: len(names) for split, names in ids.items()} == {"train": 14, "val": 2, "test": 4}
    everything = sorted(name for names in ids.values() for name in names)
    assert everything == [f"cat/{k:03d}" for k in range(12)] + [f"dog/{k:03d}" for k in range(8)]
    assert ids == {split: list(two.samples(split).ids) for split in ids}
    other = FolderClassification(root=str(tmp_path / "one"), split_seed=1)
    assert ids["test"] != list(other.samples("test").ids)
    assert one.class_names == ("cat", "dog")
    quarters = FolderClassification(root=str(tmp_path / "one"), fractions=(0.25, 0.25))
    assert len(quarters.samples("val")) == len(quarters.samples("test")) == 5  # shares of all 20, not of what is left
    for split in ids:
        samples = one.samples(split)
        assert [int(samples.target(i)) for i in range(len(samples))] == [name.startswith("dog") for name in samples.ids]


def test_splits_in_folders_of_their_own(tmp_path: Path) -> None:
    for split, counts in (("train", PETS), ("test", {"dog": 3}), ("val", {"cat": 1, "dog": 1})):
        write_tree(tmp_path / split, counts)
    dataset = FolderClassification(root=str(tmp_path))
    assert {s: len(dataset.samples(s)) for s in ("train", "val", "test")} == {"train": 20, "val": 2, "test": 3}
    assert dataset.samples("test").ids == ("test/dog/000", "test/dog/001", "test/dog/002")
    assert int(dataset.samples("test").target(0)) == 1  # the test split holds no cat: classes are those of train
    assert preflight(dataset).problems == []


def test_a_split_that_is_missing_is_drawn_from_train(tmp_path: Path) -> None:
    write_tree(tmp_path / "train", PETS)
    write_tree(tmp_path / "test", {"cat": 2, "dog": 2})
    dataset = FolderClassification(root=str(tmp_path))
    ids = {split: set(dataset.samples(split).ids) for split in ("train", "val", "test")}
    assert {split: len(names) for split, names in ids.items()} == {"train": 18, "val": 2, "test": 4}
    assert not ids["train"] & ids["val"] and all(name.startswith("train/") for name in ids["val"])


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_tree(tmp_path, {"bus": 5, "train": 5})
    dataset = FolderClassification(root=str(tmp_path), fractions=(0.0, 0.2))
    assert dataset.class_names == ("bus", "train")
    assert len(dataset.samples("train")) == 8 and len(dataset.samples("val")) == 0


def test_classes_may_be_given_their_order_and_folders_hold_folders(tmp_path: Path) -> None:
    write_tree(tmp_path, {"cat": 1, "dog/big": 1, "dog/small": 1, ".git": 1})
    (tmp_path / "notes.txt").touch()
    dataset = FolderClassification(root=str(tmp_path), classes=("dog", "cat"), fractions=(0.0, 0.0))
    samples = pickle.loads(pickle.dumps(dataset.samples("train")))  # as for a loading process
    assert samples.ids == ("dog/big/000", "dog/small/000", "cat/000")
    assert [int(samples.target(i)) for i in range(3)] == [0, 0, 1]


def test_all_problems_of_a_data_set_are_one_error(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_tree(tmp_path / split, PETS)
    write_tree(tmp_path / "val", {"bird": 1})
    write_image(tmp_path / "train" / "stray.png", 0)
    (tmp_path / "train" / "cat" / "000.jpg").touch()
    with pytest.raises(UserError) as error:
        preflight(FolderClassification(root=str(tmp_path), classes=("cat", "dog", "fish")))
    told = str(error.value)
    for part in ("classes without an image", "train/fish", "beside the folders", "stray.png", "more than one file"):
        assert part in told
    assert "folders of no class" in told and "val/bird" in told and "\n" not in told


def test_unreadable_images_of_all_splits_are_told_and_the_sound_ones_counted(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_tree(tmp_path / split, {"cat": 2, "dog": 3})
    (tmp_path / "train" / "cat" / "000.png").write_bytes(b"")
    (tmp_path / "test" / "dog" / "001.png").write_text("hello")
    report = check(FolderClassification(root=str(tmp_path)))
    (told,) = report.problems
    assert "2 images cannot be used" in told and "cat/000.png: is empty" in told and "dog/001.png: is not an" in told
    assert report.splits["train"].images_with.tolist() == [2, 3]
    assert any("the same in more than one split" in line for line in report.warnings)  # equal noise in each


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"fractions": (0.5, 0.5)}, "FolderClassification.fractions must be"),
        ({"classes": ("cat",)}, "names 1 class; at least two"),
        ({"classes": ("cat", "dog", "cat")}, "names cat more than once"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        FolderClassification(root="x", **settings)


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "flat" / "a.png", 0)
    write_tree(tmp_path / "alone", {"cat": 3})
    for root, told in (("flat", r"expected a folder for each class, found a\.png"), ("alone", "for 'cat' alone")):
        with pytest.raises(UserError, match=told):
            FolderClassification(root=str(tmp_path / root)).samples("train")
