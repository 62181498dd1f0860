"""Everything that is wrong with a data set, told at once; and what is in it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from class_trees import write_tree
from conftest import imported
from PIL import Image

from seg_al.config import UserError, run_tool
from seg_al.data.check import check, preflight
from seg_al.data.class_files import ArraySamples
from seg_al.data.classification import ClassificationDataset
from seg_al.data.folder import FolderSegmentation
from seg_al.data.folder_classification import FolderClassification
from seg_al.reporting.gallery import contact_sheet


@pytest.fixture(scope="module")
def script():
    with imported("tools/check_data.py") as module:
        yield module


def pair(root: Path, split: str, name: str, ids: object, seed: int, suffix: str = "png") -> Path:
    ids = np.array(ids, np.uint8)
    image, mask = root / split / "images" / f"{name}.{suffix}", root / split / "masks" / f"{name}.png"
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*ids.shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    Image.fromarray(ids).save(mask)
    return image


@pytest.fixture
def dataset(tmp_path: Path) -> FolderSegmentation:
    pair(tmp_path, "train", "a", [[0, 0], [1, 255]], 1)
    pair(tmp_path, "train", "b", [[0, 0], [0, 0]], 2)
    pair(tmp_path, "val", "c", [[1, 1], [1, 1]], 3)
    pair(tmp_path, "test", "d", [[255, 1], [0, 0]], 4)
    return FolderSegmentation(root=str(tmp_path), classes=("road", "car"))


def spoil(root: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("cut", "zero"):
        path = pair(root, "train", name, np.zeros((64, 64)), 5, "jpg" if name == "cut" else "png")
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:1000] if name == "cut" else b"")
    pair(root, "train", "unknown", [[0, 7], [7, 9]], 6)
    pair(root, "val", "unknown2", [[7, 0], [0, 0]], 7)
    pair(root, "test", "size", np.zeros((2, 3)), 8)
    Image.new("L", (2, 3)).save(root / "test" / "masks" / "size.png")
    (root / "test" / "masks" / "empty.png").write_bytes(b"")
    Image.new("RGB", (2, 2)).save(root / "test" / "images" / "empty.png")


PARTS = (
    "train/images/cut.jpg: cannot be read (",
    "train/images/zero.png: is empty (0 bytes)",
    "2 unknown labels: 7 in 2 masks, 3 pixels, first {root}/train/masks/unknown.png with 2, 9 in 1 masks, 1 pixels",
    "test/masks/size.png: is 2x3 pixels, but its image {root}/test/images/size.png is 3x2",
    "test/masks/empty.png: is empty (0 bytes)",
)


def test_counts_of_a_good_data_set(dataset):
    report = check(dataset)
    train, test = report.splits["train"], report.splits["test"]
    assert report.problems == [] and report.warnings == []
    assert (train.images, train.labeled, train.ignored) == (2, 2, 1)
    assert train.pixels.tolist() == [6, 1] and train.images_with.tolist() == [2, 1]
    assert train.ignored_share == 1 / 8 and dict(train.sizes) == {(2, 2): 2}
    assert test.pixels.tolist() == [2, 1]
    lines = [line.split() for line in report.table().splitlines()]
    assert ["train", "2", "2", "12.50", "%", "2x2"] in lines
    assert ["0", "road", "85.71", "%", "2", "0.00", "%", "0", "66.67", "%", "1"] in lines


@pytest.mark.parametrize("decode_images", [True, False])
def test_all_problems_of_all_splits_are_found_at_once(dataset, decode_images):
    spoil(Path(dataset.root))
    report = check(dataset, decode_images=decode_images)
    told = "\n".join(report.problems)
    for part in PARTS:
        assert part.format(root=dataset.root) in told
    assert told.count("zero.png") == 1  # the mask's size check meets the same broken image
    assert report.splits["train"].pixels.tolist()[1] == 1  # what is sound is counted all the same


def test_preflight_raises_them_in_one_line(dataset):
    assert preflight(dataset).splits["val"].images == 1
    spoil(Path(dataset.root))
    with pytest.raises(UserError) as error:
        preflight(dataset)
    assert "\n" not in str(error.value)
    for part in PARTS:
        assert part.format(root=dataset.root) in str(error.value)


def test_listing_problems_of_several_splits_come_together(dataset):
    root = Path(dataset.root)
    (root / "train" / "masks" / "b.png").unlink()
    (root / "test" / "images" / "d.png").unlink()
    pair(root, "test", "e", [[0]], 9)
    pair(root, "val", "bad", [[3]], 9)
    told = "\n".join(check(dataset).problems)
    for part in ("images without a mask", "(1): b", "masks without an image", "(1): d", "unknown labels: 3 in 1 masks"):
        assert part in told


def test_a_missing_root_is_one_problem(tmp_path):
    report = check(FolderSegmentation(root=str(tmp_path / "no"), classes=("a", "b")))
    assert len(report.problems) == 1 and "no such folder" in report.problems[0]
    assert len(check(FolderSegmentation(root=str(tmp_path / "no"))).problems) == 1


def test_the_same_picture_in_two_splits_is_a_warning(dataset):
    pair(Path(dataset.root), "test", "copy_of_a", [[0, 0], [0, 0]], 1)
    (told,) = check(dataset).warnings
    assert "1 images are the same in more than one split" in told and "train/a = test/copy_of_a" in told


def test_the_same_file_in_two_lists_is_a_problem(tmp_path):
    for k in range(3):
        pair(tmp_path, "", f"i{k}", [[0, 1]], k)
    (tmp_path / "train.txt").write_text("i0\ni1\n")
    (tmp_path / "val.txt").write_text("i1\ni2\n")
    settings = {"train_list": "train.txt", "val_list": "val.txt", "fractions": (0.0, 0.0)}
    dataset = FolderSegmentation(root=str(tmp_path), classes=("a", "b"), **settings)
    with pytest.raises(UserError, match=r"1 images are in more than one split: .*images/i1\.png \(train, val\)"):
        preflight(dataset)


def test_binary_masks_of_0_and_255_are_suspected(tmp_path):
    pair(tmp_path, "train", "a", [[0, 255], [255, 255]], 1)
    dataset = FolderSegmentation(root=str(tmp_path), classes=("a", "b"), fractions=(0.0, 0.0))
    told = "\n".join(check(dataset).warnings)
    assert (
        "no pixel in train of: b" in told and "label_ids=((0, 0), (255, 1))" in told and "val holds no images" in told
    )
    mended = FolderSegmentation(
        root=str(tmp_path), classes=("a", "b"), fractions=(0.0, 0.0), label_ids=((0, 0), (255, 1)), void=None
    )
    assert check(mended, ["train"]).splits["train"].pixels.tolist() == [1, 3]
    assert check(mended, ["train"]).warnings == []


def test_mixed_sizes_need_a_common_one(dataset):
    pair(Path(dataset.root), "train", "large", np.ones((4, 4)), 9)
    assert any("set size=(height, width)" in told for told in check(dataset).warnings)


def test_the_tool_reports_draws_and_tells_by_its_exit_code(script, dataset, tmp_path, monkeypatch, capsys):
    config = tmp_path / "my_config.py"
    config.write_text(f"from seg_al.data.folder import FolderSegmentation\nconfig = {dataset!r}\n")

    def run(*options: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["check_data.py", str(config), *options])
        with pytest.raises(SystemExit) as stop:
            run_tool(script.main)
        return stop.value.code, *capsys.readouterr()

    code, told, _ = run("--out", str(tmp_path / "sheets" / "check.png"))
    assert code == 0 and "no problems" in told and "road" in told
    sheet = np.asarray(Image.open(tmp_path / "sheets" / "check.png"))
    assert (sheet.reshape(-1, 3) == dataset.palette[1]).all(1).any()  # the legend shows the colour of class 1
    code, _, wrong = run("--rot", "x")
    assert code == 2 and wrong.startswith("error: ") and "--root" in wrong
    code, _, wrong = run("--root", "nowhere", "--out", "check.jpg")
    assert code == 2 and "--out must be a .png" in wrong
    spoil(Path(dataset.root))
    for options in ((), ("--quick",), ("--out", str(tmp_path / "bad.png"))):
        code, told, _ = run(*options)
        assert code == 2 and "problem: 2 unknown labels" in told
    assert (tmp_path / "bad.png").exists()  # what is sound is drawn all the same
    code, told, _ = run("--root", str(tmp_path / "nowhere"))
    assert code == 2 and "problem: data set root" in told


def test_classes_of_whole_images_are_counted(tmp_path):
    for split, counts in (("train", {"cat": 3, "dog": 2, "owl": 1}), ("val", {"cat": 1}), ("test", {"owl": 2})):
        write_tree(tmp_path / split, counts)
    Image.new("RGB", (7, 5)).save(tmp_path / "train" / "dog" / "large.png")
    report = check(FolderClassification(root=str(tmp_path)), ["train", "test"])
    train = report.splits["train"]
    assert report.problems == [] and (train.images, train.labeled) == (7, 7)
    assert train.images_with.tolist() == [3, 3, 1] and dict(train.sizes) == {(8, 10): 6, (5, 7): 1}
    lines = [line.split() for line in report.table().splitlines()]
    assert lines[0] == ["split", "images", "labeled", "sizes", "(width", "x", "height)"]  # nothing is ignored
    assert ["class", "train", "images", "test", "images"] in lines and ["1", "dog", "3", "0"] in lines
    dataset = FolderClassification(root=str(tmp_path), size=None)
    assert any("set size=(height, width)" in told for told in check(dataset, ["train"]).warnings)


def test_classes_that_are_none_are_told():
    class Numbers(ClassificationDataset):
        """Classes counted from 1, as many people do."""

        @property
        def class_names(self):
            return ("one", "two", "three")

        def samples(self, split):
            pixels = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), dtype=np.uint8)
            return ArraySamples(("a", "b", "c", "d"), pixels, np.array([1, 2, 3, 1]), np.arange(4))

    report = check(Numbers(), ["train"])
    (told,) = report.problems
    assert told == "1 labels cannot be used: c: is of class 3 (classes are 0 to 2)"
    assert report.splits["train"].images_with.tolist() == [0, 2, 1] and report.splits["train"].labeled == 4
    assert any(told == "no image in train of: one" for told in report.warnings)


def test_class_255_of_an_image_is_a_class(tmp_path):
    class Many(ClassificationDataset):
        @property
        def class_names(self):
            return tuple(map(str, range(300)))

        def samples(self, split):
            return ArraySamples(("a", "b"), np.zeros((2, 2, 2, 3), np.uint8), np.array([255, 299]), np.arange(2))

    report = check(Many(), ["train"], decode_images=False)
    found = report.splits["train"]
    assert report.problems == [] and found.ignored == 0
    assert found.images_with[255] == found.images_with[299] == 1 == found.images_with.sum() - 1


def test_the_tool_draws_images_with_the_names_of_their_classes(script, tmp_path, monkeypatch, capsys):
    write_tree(tmp_path / "pets", {"cat": 10, "dog": 10})
    config = tmp_path / "pets.py"
    config.write_text(
        "from seg_al.data.folder_classification import FolderClassification\n"
        f"config = FolderClassification(root={str(tmp_path / 'pets')!r})\n"
    )
    drawn = {}

    def sheet(tiles, captions, **settings):
        drawn.update(zip(captions, tiles, strict=True))
        return contact_sheet(tiles, captions, **settings)

    monkeypatch.setattr(script, "contact_sheet", sheet)
    monkeypatch.setattr(sys, "argv", ["check_data.py", str(config), "--images", "6", "--out", str(tmp_path / "s.png")])
    with pytest.raises(SystemExit) as stop:
        run_tool(script.main)
    assert stop.value.code == 0 and "no problems" in capsys.readouterr().out
    assert (tmp_path / "s.png").exists() and len(drawn) == 6
    for caption, tile in drawn.items():
        name, class_name = caption.splitlines()
        split, _, path = name.partition(": ")
        assert path.startswith(f"{class_name}/") and split in ("train", "val", "test")
        np.testing.assert_array_equal(tile, np.asarray(Image.open(tmp_path / "pets" / f"{path}.png")))
