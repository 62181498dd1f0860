"""A person's own images and masks: every layout, every mapping, everything that is wrong on day one."""

from __future__ import annotations

import pickle
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_al.config import UserError
from seg_al.data.base import Samples
from seg_al.data.folder import FolderSegmentation

CLASSES = ("road", "car", "tree")


def image(path: Path, value: int = 7, size: tuple[int, int] = (4, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def mask(path: Path, values: object = ((0, 1, 2, 255, 0),) * 4, dtype: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype=dtype)).save(path)


def pairs(root: Path, names: list[str], images: str = "images", masks: str = "masks") -> None:
    for name in names:
        image(root / images / f"{name}.png")
        mask(root / masks / f"{name}.png")


def make(root: Path, **settings: object) -> FolderSegmentation:
    return FolderSegmentation(**{"root": str(root), "classes": CLASSES, **settings})


def all_train(root: Path, **settings: object) -> Samples:
    return make(root, fractions=(0.0, 0.0), **settings).samples("train")


def test_images_and_masks_are_paired_by_path(tmp_path):
    names = ["b", "a", "night/ä ö", "night/deep/日本"]
    pairs(tmp_path, names)
    image(tmp_path / "images" / ".hidden.png")
    (tmp_path / "images" / "Thumbs.db").write_text("x")
    image(tmp_path / "images" / "photo.JPG")
    mask(tmp_path / "masks" / "photo.png")
    samples = all_train(tmp_path)
    assert list(samples.ids) == ["a", "b", "night/deep/日本", "night/ä ö", "photo"]
    assert samples.image(3).shape == (4, 5, 3)
    target = samples.target(3)
    assert target.dtype == np.uint8 and target.tolist() == [[0, 1, 2, 255, 0]] * 4


def test_names_in_either_unicode_form_pair(tmp_path):
    image(tmp_path / "images" / (unicodedata.normalize("NFD", "é") + ".png"))
    mask(tmp_path / "masks" / (unicodedata.normalize("NFC", "é") + ".png"))
    assert list(all_train(tmp_path).ids) == ["é"]


def test_samples_survive_pickling_for_workers(tmp_path):
    pairs(tmp_path, ["a"])
    samples = pickle.loads(pickle.dumps(all_train(tmp_path)))
    assert samples.target(0).max() == 255


def test_fractions_part_the_images_the_same_way_each_time(tmp_path):
    pairs(tmp_path / "one", [f"i{k}" for k in range(20)])
    pairs(tmp_path / "two", [f"i{k}" for k in reversed(range(20))])
    ids = {s: make(tmp_path / "one").samples(s).ids for s in ("train", "val", "test")}
    assert {s: len(v) for s, v in ids.items()} == {"train": 14, "val": 2, "test": 4}
    assert sorted(ids["train"] + ids["val"] + ids["test"]) == sorted(f"i{k}" for k in range(20))
    assert ids == {s: make(tmp_path / "two").samples(s).ids for s in ids}
    assert ids["test"] != make(tmp_path / "one", split_seed=1).samples("test").ids
    assert make(tmp_path / "one", fractions=(0.0, 0.5)).samples("val").ids == ()


def test_more_images_move_few_samples_across_splits(tmp_path):
    pairs(tmp_path, [f"i{k}" for k in range(40)])
    before = set(make(tmp_path).samples("test").ids)
    pairs(tmp_path, [f"j{k}" for k in range(4)])
    after = set(make(tmp_path).samples("test").ids)
    assert len(before - after) <= 4


@pytest.mark.parametrize("layout", ["{split}/{kind}", "{kind}/{split}"])
def test_split_folders(tmp_path, layout):
    for split, names in {"train": ["a", "b"], "val": ["c"], "test": ["d"]}.items():
        where = [layout.format(split=split, kind=kind) for kind in ("images", "masks")]
        pairs(tmp_path, names, *where)
    dataset = make(tmp_path)
    assert [dataset.samples(s).ids for s in ("train", "val", "test")] == [("a", "b"), ("c",), ("d",)]


def test_a_split_that_has_no_folder_is_drawn_from_train(tmp_path):
    pairs(tmp_path, [f"t{k}" for k in range(10)], "train/images", "train/masks")
    pairs(tmp_path, ["x"], "test/images", "test/masks")
    dataset = make(tmp_path, fractions=(0.3, 0.2))
    assert dataset.samples("test").ids == ("x",)
    assert len(dataset.samples("val")) == 3 and len(dataset.samples("train")) == 7
    assert not set(dataset.samples("val").ids) & set(dataset.samples("train").ids)


def test_lists_hold_ids_paths_or_pairs(tmp_path):
    pairs(tmp_path, ["a", "b", "with space", "sub/c", "unused"])
    image(tmp_path / "elsewhere" / "my photo.png")
    mask(tmp_path / "labels" / "my label.png")
    lines = ["\ufeffb", "with space", "images/a.png", "", "sub/c.png", "elsewhere/my photo.png labels/my label.png"]
    (tmp_path / "train.txt").write_text("\r\n".join(lines), encoding="utf-8")
    (tmp_path / "test.txt").write_text("unused\n")
    dataset = make(tmp_path, train_list="train.txt", test_list="test.txt", fractions=(0.0, 0.0))
    samples = dataset.samples("train")
    assert list(samples.ids) == ["b", "with space", "a", "sub/c", "elsewhere/my photo"]
    assert samples.masks[-1] == tmp_path / "labels" / "my label.png"
    assert samples.target(4).shape == (4, 5)
    assert dataset.samples("test").ids == ("unused",) and dataset.samples("val").ids == ()


def test_lists_that_are_wrong(tmp_path):
    pairs(tmp_path, ["a", "b"])
    image(tmp_path / "images" / "bare.png")
    (tmp_path / "bad.txt").write_text("a\nb\na\nmissing.png\nbare\n")
    (tmp_path / "empty.txt").write_text(" \n\n")
    (tmp_path / "latin.txt").write_bytes("ä".encode("latin-1"))
    with pytest.raises(UserError) as error:
        all_train(tmp_path, train_list="bad.txt")
    assert "\n" not in str(error.value)
    for part in ("bad.txt", "'missing.png'", "listed twice; keep one (1): a", "without a mask", "(1): bare"):
        assert part in str(error.value)
    with pytest.raises(UserError, match=r"empty\.txt: lists nothing"):
        all_train(tmp_path, train_list="empty.txt")
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file"):
        all_train(tmp_path, train_list="nowhere.txt")
    with pytest.raises(UserError, match=r"latin\.txt: cannot be read as UTF-8"):
        all_train(tmp_path, train_list="latin.txt")
    with pytest.raises(UserError, match="need a train_list"):
        make(tmp_path, val_list="a.txt")


def test_roots_that_are_wrong(tmp_path, monkeypatch):
    monkeypatch.delenv("SEG_AL_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"'nowhere': no such folder.*{tmp_path}/nowhere.*SEG_AL_DATA is not set"):
        make(Path("nowhere")).samples("train")
    monkeypatch.setenv("SEG_AL_DATA", str(tmp_path / "base"))
    with pytest.raises(UserError, match=rf"{tmp_path}/nowhere nor {tmp_path}/base/nowhere; set root"):
        make(Path("nowhere")).samples("train")
    (tmp_path / "data.zip").write_text("x")
    with pytest.raises(UserError, match=r"data\.zip: is a file.*unpack it"):
        make(tmp_path / "data.zip").samples("train")
    pairs(tmp_path / "base" / "nowhere", ["a"])
    assert all_train(Path("nowhere")).ids == ("a",)
    (tmp_path / "other" / "pictures").mkdir(parents=True)
    with pytest.raises(UserError, match=r"other: expected images/ and masks/.*found pictures/"):
        make(tmp_path / "other").samples("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="found nothing"):
        make(tmp_path / "empty").samples("train")
    (tmp_path / "bare" / "images").mkdir(parents=True)
    with pytest.raises(UserError, match="bare/images: holds no image"):
        make(tmp_path / "bare").samples("train")


def test_no_masks_at_all_has_its_own_message(tmp_path):
    image(tmp_path / "images" / "a.png")
    with pytest.raises(UserError, match=r"masks: no such folder.*unlabeled_ok=True"):
        all_train(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match=r"masks: holds no masks.*unlabeled_ok=True"):
        all_train(tmp_path)
    samples = all_train(tmp_path, unlabeled_ok=True)
    assert samples.ids == ("a",) and samples.target(0) is None


def test_an_unlabeled_pool_is_tested_on_its_labeled_images(tmp_path):
    pairs(tmp_path, [f"labeled{k}" for k in range(10)])
    for k in range(30):
        image(tmp_path / "images" / f"bare{k}.png")
    dataset = make(tmp_path, unlabeled_ok=True)
    assert len(dataset.samples("test")) == 2 and len(dataset.samples("val")) == 1
    assert all(name.startswith("labeled") for s in ("val", "test") for name in dataset.samples(s).ids)
    assert len(dataset.samples("train")) == 37


def test_unmatched_files_are_listed_together(tmp_path):
    pairs(tmp_path, ["ok"])
    for k in range(7):
        image(tmp_path / "images" / f"bare{k}.png")
    mask(tmp_path / "masks" / "ghost.png")
    image(tmp_path / "images" / "ok.jpg")
    (tmp_path / "masks" / "dir.png").mkdir()
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "masks" / "bare0.jpg")
    with pytest.raises(UserError) as error:
        all_train(tmp_path)
    text = str(error.value)
    assert "\n" not in text
    for part in (
        "images without a mask; label or remove them (6): bare1, bare2, bare3, bare4, bare5 and 1 more",
        "masks without an image; restore the image or remove the mask (1): ghost",
        "more than one file for an id; keep one (1)",
        "folders named like an image; rename or remove them (1)",
        "bare0.jpg",
    ):
        assert part in text


def test_sizes_must_agree(tmp_path):
    image(tmp_path / "images" / "a.png", size=(4, 5))
    mask(tmp_path / "masks" / "a.png", np.zeros((5, 4)))
    with pytest.raises(UserError, match=r"masks/a\.png: is 4x5 pixels, but its image .*images/a\.png is 5x4"):
        all_train(tmp_path).target(0)


def test_unknown_labels_name_file_id_and_count(tmp_path):
    image(tmp_path / "images" / "a.png")
    mask(tmp_path / "masks" / "a.png", [[0, 1, 9, 9, 9], [3, 0, 0, 254, 254]] + [[0] * 5] * 2)
    with pytest.raises(UserError) as error:
        all_train(tmp_path).target(0)
    text = str(error.value)
    assert "masks/a.png: has unknown labels 9 (3 pixels), 254 (2 pixels), 3 (1 pixel), the data set knows 0-2" in text
    assert "ignores 255" in text and "\n" not in text


def test_a_class_list_that_is_too_short_is_noticed(tmp_path):
    pairs(tmp_path, ["a"])
    with pytest.raises(
        UserError, match=r"unknown labels 2 \(4 pixels\), the data set knows 0-1.*add a name to classes"
    ):
        all_train(tmp_path, classes=("road", "car")).target(0)


def test_label_ids_and_void_are_mapped(tmp_path):
    image(tmp_path / "images" / "a.png", size=(1, 5))
    mask(tmp_path / "masks" / "a.png", [[7, 1000, 65535, 0, 8]], np.uint16)
    label_ids = ((7, 0), (8, 0), (1000, 2), (0, 1))
    samples = all_train(tmp_path, label_ids=label_ids, void=(65535, 11))
    assert samples.target(0).tolist() == [[0, 2, 255, 1, 0]]
    with pytest.raises(UserError, match="unknown labels 65535"):
        all_train(tmp_path, label_ids=label_ids, void=None).target(0)


def test_negative_and_huge_ids_are_unknown_not_wrapped(tmp_path):
    image(tmp_path / "images" / "a.png", size=(1, 3))
    mask(tmp_path / "masks" / "a.tif", [[-1, 0, 65536]], np.int32)
    with pytest.raises(UserError, match=r"unknown labels -1 \(1 pixel\), 65536 \(1 pixel\)"):
        all_train(tmp_path).target(0)


def test_palette_masks_are_read_by_index(tmp_path):
    image(tmp_path / "images" / "a.png", size=(1, 3))
    (tmp_path / "masks").mkdir()
    picture = Image.frombytes("P", (3, 1), bytes([2, 0, 255]))
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    picture.save(tmp_path / "masks" / "a.png")
    assert all_train(tmp_path).target(0).tolist() == [[2, 0, 255]]


def test_colour_masks(tmp_path):
    colors = ((0, 0, 0), (255, 0, 0), (0, 0, 255))
    picture = np.array([[(255, 0, 0), (0, 0, 0), (0, 0, 255), (9, 9, 9), (1, 2, 3)]], np.uint8)
    image(tmp_path / "images" / "a.png", size=(1, 5))
    mask(tmp_path / "masks" / "a.png", picture)
    dataset = make(tmp_path, colors=colors, void_color=((9, 9, 9), (1, 2, 3)), fractions=(0.0, 0.0))
    assert dataset.samples("train").target(0).tolist() == [[1, 0, 2, 255, 255]]
    np.testing.assert_array_equal(dataset.palette, colors)
    with pytest.raises(UserError, match=r"a\.png: has unknown labels \(1, 2, 3\) \(1 pixel\), .*void_color"):
        all_train(tmp_path, colors=colors, void_color=(9, 9, 9)).target(0)
    with pytest.raises(UserError, match="2 colors for 3 classes"):
        all_train(tmp_path, colors=colors[:2])


def test_class_names_from_files(tmp_path):
    pairs(tmp_path, ["a"])
    with pytest.raises(UserError, match=r"classes\.txt: no such file; write one class name a line"):
        make(tmp_path, classes=None).samples("train")
    (tmp_path / "classes.txt").write_text("road\n traffic light \n\ncar\n")
    assert make(tmp_path, classes=None).class_names == ("road", "traffic light", "car")
    (tmp_path / "names.txt").write_text("a\na\n")
    with pytest.raises(UserError, match=r"names\.txt: a named more than once"):
        make(tmp_path, classes="names.txt").samples("train")
    with pytest.raises(UserError, match=r"typo\.txt: no such file"):
        make(tmp_path, classes="typo.txt").samples("train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fractions": (0.5, 0.5)}, "sum to less than 1"),
        ({"fractions": (-0.1, 0.5)}, "0 or more"),
        ({"label_ids": ((1, 0), (1, 1))}, "label ids 1 are given two meanings"),
        ({"label_ids": ((255, 0),)}, "label ids 255 are given two meanings"),
        ({"void": -1}, "between 0 and 65535"),
        ({"classes": ("only",)}, "at least two"),
        ({"classes": ("a", "a")}, "a named more than once"),
        ({"void_color": (0, 0, 0)}, "needs colors"),
        ({"colors": ((0, 0, 0), (0, 0, 0), (1, 1, 1))}, r"\(0, 0, 0\) are given two meanings"),
        ({"colors": ((0, 0, 256), (0, 0, 0), (1, 1, 1))}, "between 0 and 255"),
    ],
)
def test_settings_that_contradict_each_other_fail_at_once(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path, **settings)


def test_settings_that_contradict_the_classes_fail_when_listed(tmp_path):
    pairs(tmp_path, ["a"])
    with pytest.raises(UserError, match="5 -> 3, but classes are 0 to 2"):
        all_train(tmp_path, label_ids=((5, 3),))
    with pytest.raises(UserError, match="void holds 2, which is class 'tree' too"):
        all_train(tmp_path, void=2)


def test_the_default_palette_is_that_of_pascal_voc(tmp_path):
    """VOC's colours of classes 1, 2 and 3 (aeroplane, bicycle, bird), as its development kit lists them."""
    assert make(tmp_path).palette.tolist() == [[128, 0, 0], [0, 128, 0], [128, 128, 0]]
    many = make(tmp_path, classes=tuple(f"c{k}" for k in range(200))).palette
    assert len({tuple(color) for color in many.tolist()}) == 200
