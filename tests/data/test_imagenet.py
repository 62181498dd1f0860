"""ImageNet: its layout, its splits, and an index that is made once and made anew when files come and go."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from class_trees import write_image, write_tree

from seg_al.config import UserError
from seg_al.data import index
from seg_al.data.check import check, preflight
from seg_al.data.imagenet import ImageNet

DATA = os.environ.get("SEG_AL_DATA", "/nonexistent")
WNIDS = ("n01440764", "n02012849", "n03126707")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    index._indexed.cache_clear()
    return tmp_path / "cache" / "seg_al"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tree(tmp_path / "data" / "train", dict(zip(WNIDS, (4, 3, 5), strict=True)), ".JPEG", "x_{}")
    write_tree(tmp_path / "data" / "val", dict.fromkeys(WNIDS, 2), ".JPEG", "v_{}")
    return tmp_path / "data"


def again(root: Path) -> ImageNet:
    """Return the data set as another process would see it."""
    index._indexed.cache_clear()
    return ImageNet(root=str(root), val_images=2)


def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every file that is looked at from now on."""
    seen: list[str] = []
    real = index.probe_image
    monkeypatch.setattr(index, "probe_image", lambda path: seen.append(str(path)) or real(path))
    monkeypatch.setattr("seg_al.data.files.probe_image", lambda path: seen.append(str(path)) or real(path))
    return seen


def test_val_is_held_out_and_the_official_val_is_the_test(root: Path) -> None:
    dataset = ImageNet(root=str(root), val_images=2)
    ids = {split: list(dataset.samples(split).ids) for split in ("train", "val", "test")}
    assert ids["test"] == [f"val/{wnid}/v_{k}" for wnid in WNIDS for k in range(2)]
    assert len(ids["val"]) == 2 and len(ids["train"]) == 10
    counts = zip(WNIDS, (4, 3, 5), strict=True)
    assert sorted(ids["train"] + ids["val"]) == [f"train/{wnid}/x_{k}" for wnid, count in counts for k in range(count)]
    test = dataset.samples("test")
    assert [int(test.target(i)) for i in range(6)] == [0, 0, 1, 1, 2, 2]
    train = dataset.samples("train")
    assert [int(train.target(i)) for i in range(10)] == [WNIDS.index(name.split("/")[1]) for name in train.ids]
    assert test.image(5).shape == (8, 10, 3) and test.probe(5) == (8, 10)


def test_files_are_looked_at_once(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = looks(monkeypatch)
    first = {split: again(root).samples(split) for split in ("train", "val", "test")}
    assert len(seen) == len(set(seen)) == 18
    told = capsys.readouterr().err
    assert all(str(file) in told for file in cache.glob("*.npz")) and len(list(cache.glob("*.npz"))) == 2
    monkeypatch.setattr(index, "scan_classes", None)
    for split, samples in first.items():
        second = again(root).samples(split)
        assert (second.ids, second.images) == (samples.ids, samples.images)
        np.testing.assert_array_equal(second.classes, samples.classes)
    report = preflight(again(root))
    assert len(seen) == 18 and capsys.readouterr().err == ""
    assert report.splits["test"].images_with.tolist() == [2, 2, 2]
    assert dict(report.splits["train"].sizes) == {(8, 10): 10}


@pytest.mark.parametrize("change", ["add", "remove", "rename", "class"])
def test_a_change_of_a_folder_is_noticed(root: Path, change: str) -> None:
    before = again(root).samples("train")
    place = root / "train" / WNIDS[1]
    if change == "add":
        write_image(place / "new.JPEG", 1)
    elif change == "remove":
        (place / "x_0.JPEG").unlink()
    elif change == "rename":
        (place / "x_0.JPEG").rename(place / "y_0.JPEG")
    else:
        write_tree(root / "train", {"n09999999": 1})
    after = set(again(root).official("train").ids) - set(before.ids)
    gone = set(before.ids) - set(again(root).official("train").ids)
    expected = {"add": ("n02012849/new", None), "remove": (None, "n02012849/x_0"), "class": ("n09999999/000", None)}
    came, went = expected.get(change, ("n02012849/y_0", "n02012849/x_0"))
    assert came is None or f"train/{came}" in after
    assert went is None or gone == {f"train/{went}"}


def test_an_unusable_file_is_told_until_it_is_mended_in_place(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = root / "train" / WNIDS[0] / "x_1.JPEG"
    broken.write_bytes(b"")
    (root / "val" / WNIDS[0] / "v_0.JPEG").write_text("no image")
    for _ in range(2):
        with pytest.raises(UserError) as error:
            preflight(again(root))
        assert "x_1.JPEG: is empty (0 bytes)" in str(error.value) and "v_0.JPEG: is not an image" in str(error.value)
    write_image(broken, 3)
    write_image(root / "val" / WNIDS[0] / "v_0.JPEG", 3)
    seen = looks(monkeypatch)
    assert preflight(again(root)).problems == []
    assert sorted(Path(path).name for path in seen) == ["v_0.JPEG", "x_1.JPEG"]


def test_a_damaged_or_deleted_index_is_made_anew(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = again(root).samples("train").ids
    (file,) = cache.glob("train*.npz")
    for damaged in (file.read_bytes()[:300], b"", None):
        file.unlink() if damaged is None else file.write_bytes(damaged)
        seen = looks(monkeypatch)
        assert again(root).samples("train").ids == whole and len(seen) == 12
    assert not list(cache.glob(".*"))


def test_names_come_from_the_mapping_and_stay_unique(root: Path) -> None:
    assert ImageNet(root=str(root)).class_names == WNIDS
    lines = ["n02012849 crane", "n01440764 tench, Tinca tinca", "n03126707 crane", "n00000001 unused"]
    (root / "LOC_synset_mapping.txt").write_text("\n".join(lines))
    assert ImageNet(root=str(root)).class_names == ("tench", "crane (n02012849)", "crane (n03126707)")


def test_wrong_layouts_are_told_together_with_how_to_get_it(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected train/ and val/, found nothing; fetch ILSVRC2012's.*image-net\.org"):
        (tmp_path / "empty").mkdir()
        ImageNet(root=str(tmp_path / "empty")).samples("train")
    (root / "val" / WNIDS[2] / "v_0.JPEG").rename(root / "val" / "v_0.JPEG")
    (root / "val" / WNIDS[2] / "v_1.JPEG").unlink()
    (root / "val" / WNIDS[1]).rename(root / "val" / "n1")
    told = "\n".join(check(again(root)).problems)
    for part in ("images beside the folders of the classes", "folders of no class", "val/n1", f"val/{WNIDS[2]}"):
        assert part in told
    assert ImageNet(val_images=128120).val_images + 1153047 == 1281167


def test_real_images(tmp_path: Path) -> None:
    root = Path(DATA) / "imagenette_mini"
    if not root.is_dir():
        pytest.skip("needs $SEG_AL_DATA/imagenette_mini")
    dataset = ImageNet(root=str(root), val_images=50)
    report = check(dataset)
    assert report.problems == [] and len(dataset.class_names) == 10
    assert report.splits["test"].images_with.tolist() == [20] * 10
    assert (report.splits["train"].images_with + report.splits["val"].images_with).tolist() == [50] * 10
