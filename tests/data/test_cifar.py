"""CIFAR in its three forms, on stand-ins; the published classes."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import layouts
import numpy as np
import pytest
from class_trees import write_tree
from PIL import Image
from torchvision import datasets

from seg_al.config import UserError
from seg_al.data import cifar
from seg_al.data.check import check
from seg_al.data.cifar import CIFAR10, CIFAR10_CLASSES, CIFAR100, CIFAR100_CLASSES, SUPER_CLASSES

DATA = os.environ.get("SEG_AL_DATA", "/nonexistent")
NAMES = tuple(reversed(CIFAR10_CLASSES))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SEG_AL_DATA", raising=False)


def write_batches(root: Path, monkeypatch: pytest.MonkeyPatch, source: type = datasets.CIFAR10) -> dict[str, dict]:
    """Write stand-ins of torchvision's files, ten images each, and let it expect their checksums."""
    labels = np.random.default_rng(1).integers(0, 100 if source is datasets.CIFAR100 else 10, 60)
    return layouts.cifar(root, source, labels[10 : 10 + 10 * len(source.train_list)], labels[:10], monkeypatch)


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def picture(seed: int, size: tuple[int, int] = (32, 32)) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


def whole_tree() -> dict[str, bytes]:
    """Two train images and one test image of each class, not in order."""
    names = [(split, name, k) for split, count in (("test", 1), ("train", 2)) for k in range(count) for name in NAMES]
    return {f"{split}/{name}/{k:04d}.png": picture(100 * NAMES.index(name) + k) for split, name, k in names}


def test_batches_as_torchvision_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_batches(tmp_path, monkeypatch)
    whole = CIFAR10(root=str(tmp_path), val_images=0).samples("train")
    assert whole.ids[17] == "train/00017" and len(whole) == 50
    content = written["data_batch_2"]  # holds number 17 in its row 7: all red, then all green, then all blue
    np.testing.assert_array_equal(whole.image(17)[3, 5], content["data"][7].reshape(3, 1024)[:, 3 * 32 + 5])
    assert [int(whole.target(i)) for i in range(10, 20)] == content["labels"]
    assert whole.target(3).shape == () and whole.target(3).dtype == np.int64
    dataset = CIFAR10(root=str(tmp_path), val_images=12, test_images=4)
    assert {split: len(dataset.samples(split)) for split in ("train", "val", "test")} == {
        "train": 38, "val": 12, "test": 4,
    }  # fmt: skip
    val = dataset.samples("val")
    for index, name in enumerate(val.ids):
        np.testing.assert_array_equal(val.image(index), whole.image(int(name[-5:])))
        assert val.target(index) == whole.target(int(name[-5:]))


def test_fine_labels_of_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_batches(tmp_path, monkeypatch, datasets.CIFAR100)
    samples = CIFAR100(root=str(tmp_path)).samples("test")
    assert [int(samples.target(i)) for i in range(10)] == written["test"]["fine_labels"]


def test_damaged_batches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_batches(tmp_path, monkeypatch)
    with open(tmp_path / "cifar-10-batches-py" / "data_batch_3", "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"cifar-10-batches-py: is incomplete or damaged.*download"):
        CIFAR10(root=str(tmp_path)).samples("train")


def test_a_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", no_network)
    with pytest.raises(UserError, match=r"cannot download https://www.*\(no network\); fetch and unpack it there"):
        CIFAR10(root=str(tmp_path / "new"), download=True).samples("train")
    with pytest.raises(UserError, match="download=True fetches it"):
        CIFAR10(root=str(tmp_path / "other")).samples("train")
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="expected cifar-10-batches-py/, or train/ and test/"):
        CIFAR10(root=str(tmp_path / "other")).samples("train")


def test_nothing_is_downloaded_where_the_data_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_batches(tmp_path / "data" / "cifar10", monkeypatch)
    monkeypatch.setenv("SEG_AL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", None)
    assert len(CIFAR10(download=True, val_images=5).samples("train")) == 45


def test_images_in_folders_and_in_an_archive_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = whole_tree()
    for name, data in members.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    write_archive(tmp_path / "cifar10.tar.gz", {**members, "README.md": b"hello"})
    monkeypatch.setenv("SEG_AL_DATA", str(tmp_path))
    tree, archive = CIFAR10(root="tree", val_images=4), CIFAR10(val_images=4)
    for split in ("train", "val", "test"):
        one, two = tree.samples(split), archive.samples(split)
        assert one.ids == two.ids and len(one) == {"train": 16, "val": 4, "test": 10}[split]
        for index, name in enumerate(one.ids):
            np.testing.assert_array_equal(one.image(index), two.image(index))
            assert one.target(index) == two.target(index) == CIFAR10_CLASSES.index(name.split("/")[1])
    assert CIFAR10(root=str(tmp_path / "cifar10.tar.gz"), val_images=0).samples("train").ids[0] == "train/airplane/0000"
    image = np.asarray(Image.open(io.BytesIO(members["test/ship/0000.png"])))
    np.testing.assert_array_equal(archive.samples("test").image(8), image)


def test_an_archive_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cifar10.tar.gz"
    write_archive(path, whole_tree())
    first = CIFAR10(root=str(path)).samples("test").image(3)
    (saved,) = (tmp_path / "cache" / "seg_al").glob("*.npz")
    assert str(saved) in capsys.readouterr().err
    cifar._archived.cache_clear()  # as in another process
    with monkeypatch.context() as patch:
        patch.setattr(cifar, "_read_archive", None)
        np.testing.assert_array_equal(CIFAR10(root=str(path)).samples("test").image(3), first)
    assert capsys.readouterr().err == ""
    write_archive(path, whole_tree() | {"test/cat/0000.png": picture(99)})
    assert not np.array_equal(CIFAR10(root=str(path)).samples("test").image(3), first)
    cifar._archived.cache_clear()
    saved.write_bytes(saved.read_bytes()[:500])  # damaged: made anew
    assert len(CIFAR10(root=str(path)).samples("test")) == 10


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write_archive(tmp_path / "cifar10.tar.gz", whole_tree())
    with pytest.warns(UserWarning, match=r"cannot be written .*set XDG_CACHE_HOME"):
        assert len(CIFAR10(root=str(tmp_path / "cifar10")).samples("test")) == 10


def test_all_that_is_wrong_with_an_archive_is_told_at_once(tmp_path: Path) -> None:
    members = whole_tree()
    del members["test/deer/0000.png"]
    members |= {
        "train/cow/1.png": picture(1),
        "train/cat/broken.jpg": b"no image",
        "test/dog/big.png": picture(2, size=(9, 9)),
    }
    write_archive(tmp_path / "c.tar.gz", members)
    with pytest.raises(UserError) as error:
        CIFAR10(root=str(tmp_path / "c.tar.gz")).samples("train")
    told = str(error.value)
    for part in (
        "of no class",
        "train/cow/1.png",
        "train/cat/broken.jpg: is not an image",
        "test/deer",
        "several sizes",
    ):
        assert part in told
    assert "\n" not in told
    (tmp_path / "d.tar.gz").write_bytes((tmp_path / "c.tar.gz").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"d\.tar\.gz: cannot be unpacked"):
        CIFAR10(root=str(tmp_path / "d.tar.gz")).samples("train")


def test_folders_of_other_classes_are_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "train", {name: 1 for name in CIFAR10_CLASSES if name != "dog"} | {"Dog": 1})
    with pytest.raises(UserError, match=r"folders of no class.*train/Dog; classes without an image.*train/dog"):
        CIFAR10(root=str(tmp_path)).samples("train")


def test_the_classes_are_those_published() -> None:
    # the official meta files list names in the order of their labels
    assert len(CIFAR10_CLASSES) == 10 and CIFAR10_CLASSES[6] == "frog"
    assert len(CIFAR100_CLASSES) == len(set(CIFAR100_CLASSES)) == 100
    assert CIFAR100_CLASSES[:3] == ("apple", "aquarium_fish", "baby") and CIFAR100_CLASSES[99] == "worm"
    assert CIFAR100_CLASSES[19] == "cattle" and CIFAR100_CLASSES[86] == "telephone"
    assert [len(names) for names in SUPER_CLASSES.values()] == [5] * 20
    # coarse label of each fine label, as the official training file pairs them
    coarse = (
        "4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 "
        "5 19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 "
        "16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13"
    )
    assert CIFAR100().super_classes == tuple(map(int, coarse.split()))
    assert CIFAR10().super_classes == (0,) * 10


def test_the_real_archive_has_this_layout(tmp_path: Path) -> None:
    path = Path(DATA) / "cifar10.tar.gz"
    if not path.is_file():
        pytest.skip("needs $SEG_AL_DATA/cifar10.tar.gz")
    counts: dict[str, int] = {}
    few: dict[str, bytes] = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            if member.isfile():
                folder = member.name.rpartition("/")[0]
                counts[folder] = counts.get(folder, 0) + 1
                if counts[folder] <= 2:
                    few[member.name] = archive.extractfile(member).read()
    assert counts == {
        f"{split}/{name}": n for split, n in (("train", 5000), ("test", 1000)) for name in CIFAR10_CLASSES
    }
    write_archive(tmp_path / "few.tar.gz", few)
    dataset = CIFAR10(root=str(tmp_path / "few"), val_images=5)
    report = check(dataset)
    assert report.problems == [] and report.splits["test"].images_with.tolist() == [2] * 10
    assert dict(report.splits["train"].sizes) == {(32, 32): 15}
