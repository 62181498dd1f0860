"""COCO files: what is written is what COCO's own API reads, and what comes back from tools becomes masks."""

from __future__ import annotations

import builtins
import json
import random
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotators import masks_of_all_kinds, to_annotate
from PIL import Image

from seg_al.annotation import coco
from seg_al.annotation.base import UNTOUCHED, Annotated, ToAnnotate
from seg_al.annotation.coco import Coco
from seg_al.annotation.json_files import json_values
from seg_al.config import UserError

pytest.importorskip("pycocotools")

CLASSES = ("road", "car", "tree")


def masks() -> dict[str, tuple[np.ndarray, int]]:
    """Return masks of every kind by the samples' ids, and their number of classes."""
    return masks_of_all_kinds() | {
        "one class": (np.full((4, 5), 1, np.uint8), 3),
        "night/deep/日本 ü": (np.eye(6, 5, dtype=np.uint8), 3),
        "a b+#%41?&=v1.5": (np.tri(5, 8, dtype=np.uint8), 3),
    }


def names(count: int) -> list[str]:
    return list(CLASSES) if count == 3 else [f"class {i}" for i in range(count)]


def export(root: Path, images: list[ToAnnotate], class_names: list[str]) -> Path:
    folder = root / "export"
    folder.mkdir()
    palette = np.arange(3 * len(class_names)).reshape(-1, 3).astype(np.uint8)
    assert Coco().export(iter(images), class_names, palette, folder)
    return folder / "annotations" / "instances_default.json"


def by_a_tool(path: Path) -> Path:
    """Write the file as a tool would that has read it: other ids, other order, and its own fields alone."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for part in ("images", "categories"):
        random.Random(1).shuffle(content[part])
    result = {
        "categories": [{"id": c["id"] + 70, "name": c["name"]} for c in content["categories"]],
        "images": [{**i, "id": i["id"] + 300, "license": 0} for i in content["images"]],
        "annotations": [
            {
                "id": a["id"],
                "image_id": a["image_id"] + 300,
                "category_id": a["category_id"] + 70,
                "segmentation": a["segmentation"],
            }
            for a in content["annotations"]
        ],
    }
    path.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    return path


def write(path: Path, annotations: list[dict[str, Any]], size: tuple[int, int] = (4, 5), **parts: Any) -> Path:
    """Write a small COCO file of one image, a.png."""
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}],
        "categories": [{"id": i, "name": name} for i, name in enumerate([*CLASSES, "void"])],
        "annotations": [{"id": i, "image_id": 1, **a} for i, a in enumerate(annotations)],
        **parts,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def read(path: Path, class_names: tuple[str, ...] = CLASSES) -> list[Annotated]:
    return list(Coco().read(path, class_names))


def run_lengths(region: np.ndarray) -> list[int]:
    """Return COCO's uncompressed runs, by its definition: down the columns, zeros first."""
    counts, current = [0], 0
    for value in region.T.ravel().astype(int):
        if value != current:
            counts.append(0)
            current = value
        counts[-1] += 1
    return counts


def rle(region: np.ndarray) -> dict[str, Any]:
    return {"size": list(region.shape), "counts": run_lengths(region)}


@pytest.mark.parametrize("id", masks())
def test_a_mask_comes_back_as_it_was_suggested(tmp_path, id):
    mask, count = masks()[id]
    path = export(tmp_path, [to_annotate(tmp_path, id, mask)], names(count))
    [annotated] = read(by_a_tool(path), tuple(names(count)))
    assert annotated.id == id
    assert annotated.mask.dtype == np.uint8
    np.testing.assert_array_equal(annotated.mask, mask)


def test_the_makers_api_reads_the_file(tmp_path):
    from pycocotools.coco import COCO

    some = {id: mask for id, (mask, count) in masks().items() if count == 3}
    path = export(tmp_path, [to_annotate(tmp_path, id, mask) for id, mask in some.items()], list(CLASSES))
    api = COCO(path)
    labels = {c["id"]: c["name"] for c in api.loadCats(api.getCatIds())}
    assert list(labels.values()) == ["road", "car", "tree", "void"]
    for info, (id, mask) in zip(api.loadImgs(api.getImgIds()), some.items(), strict=True):
        assert info["file_name"] == f"{id}.png"
        assert Image.open(tmp_path / "export" / "images" / info["file_name"]).size == mask.shape[::-1]
        annotations = api.loadAnns(api.getAnnIds(imgIds=info["id"], iscrowd=False))
        found = {labels[a["category_id"]]: a for a in annotations}
        assert len(found) == len(annotations) == len(set(mask.ravel().tolist()) - {UNTOUCHED})
        for name, annotation in found.items():
            region = mask == [*CLASSES, "void"].index(name) if name != "void" else mask == 255
            np.testing.assert_array_equal(api.annToMask(annotation), region)
            rows, columns = np.nonzero(region)
            left, top = columns.min(), rows.min()
            assert annotation["area"] == region.sum()
            assert annotation["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]


def test_colours_of_the_labels(tmp_path):
    path = export(tmp_path, [to_annotate(tmp_path, "a", None)], list(CLASSES))
    colors = [category["color"] for category in json.loads(path.read_text())["categories"]]
    assert colors == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [224, 224, 192]]


def test_an_image_without_annotations_is_not_finished(tmp_path):
    empty = np.full((4, 5), UNTOUCHED, np.uint8)
    images = [to_annotate(tmp_path, "none", None), to_annotate(tmp_path, "empty", empty)]
    assert [(a.id, a.mask) for a in read(export(tmp_path, images, list(CLASSES)))] == [("none", None), ("empty", None)]


def test_suggestions_are_made_one_after_the_other(tmp_path):
    made = []

    def images():
        for id in "ab":
            image = to_annotate(tmp_path, id, None)
            yield ToAnnotate(id, image.image, image.size, lambda id=id: made.append(id) or np.zeros((4, 5), np.uint8))

    export(tmp_path, images(), list(CLASSES))
    assert made == ["a", "b"]


@pytest.mark.parametrize("crowd", [0, 1])
def test_runs_that_are_not_compressed(tmp_path, crowd):
    region = np.random.default_rng(3).random((4, 5)) < 0.5
    path = write(tmp_path / "a.json", [{"category_id": 1, "segmentation": rle(region), "iscrowd": crowd}])
    np.testing.assert_array_equal(read(path)[0].mask, np.where(region, 1, UNTOUCHED))


@pytest.mark.parametrize("seed", range(5))
def test_compressed_runs_are_those_of_the_makers(tmp_path, seed):
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(seed)
    region = rng.random((60, 700)) < rng.random() ** 3  # runs of up to hundreds, growing and shrinking
    counts = coco_mask.encode(np.asfortranarray(region, dtype=np.uint8))["counts"].decode()
    assert coco._counts(counts) == run_lengths(region)


def test_polygons(tmp_path):
    # Drawn around pixels' outer edges: columns 1 and 2 of rows 0 to 2, and the pixel at the lower right.
    squares = [[1, 0, 3, 0, 3, 3, 1, 3], [4, 3, 5, 3, 5, 4, 4, 4]]
    path = write(tmp_path / "a.json", [{"category_id": 2, "segmentation": squares}])
    expected = np.full((4, 5), UNTOUCHED)
    expected[0:3, 1:3] = expected[3, 4] = 2
    np.testing.assert_array_equal(read(path)[0].mask, expected)


def test_later_annotations_lie_on_top(tmp_path):
    left, top, corner = (np.zeros((4, 5), bool) for _ in range(3))
    left[:, :2] = top[:2] = corner[0, 0] = True
    annotations = [(0, left), (1, top), (3, corner), (0, left & ~top)]
    path = write(tmp_path / "a.json", [{"category_id": c, "segmentation": rle(r)} for c, r in annotations])
    expected = np.full((4, 5), UNTOUCHED)
    expected[:, :2] = 0
    expected[:2] = 1
    expected[0, 0] = 255
    np.testing.assert_array_equal(read(path)[0].mask, expected)


def test_an_image_of_two_annotators_comes_twice(tmp_path):
    (tmp_path / "work" / "anna").mkdir(parents=True)
    (tmp_path / "work" / "bert").mkdir()
    region = {"segmentation": rle(np.ones((4, 5), bool))}
    write(tmp_path / "work" / "anna" / "a.json", [{"category_id": 0, **region}])
    write(tmp_path / "work" / "bert" / "a.json", [{"category_id": 1, **region}])
    (tmp_path / "work" / "bert" / "._a.json").write_bytes(b"\x00\xff of macOS")
    (tmp_path / "work" / "notes.txt").write_text("x")
    first, second = read(tmp_path / "work")
    assert (first.id, first.mask[0, 0], second.id, second.mask[0, 0]) == ("a", 0, "a", 1)
    assert "anna" in first.where and "bert" in second.where


def test_names_in_either_unicode_form(tmp_path):
    path = write(tmp_path / "a.json", [], images=[{"id": 1, "file_name": unicodedata.normalize("NFD", "é.b.png")}])
    assert [a.id for a in read(path)] == [unicodedata.normalize("NFC", "é.b")]


def test_a_zip(tmp_path):
    path = write(tmp_path / "a.json", [{"category_id": 1, "segmentation": rle(np.ones((4, 5), bool))}])
    with zipfile.ZipFile(tmp_path / "work.zip", "w") as archive:
        archive.write(path, "annotations/instances_default.json")
        archive.writestr("__MACOSX/annotations/._instances_default.json", b"\x00\xff")
    [annotated] = read(tmp_path / "work.zip")
    assert annotated.mask.tolist() == [[1] * 5] * 4


WHOLE = rle(np.ones((4, 5), bool))
SQUARE = [0, 0, 2, 0, 2, 2]


@pytest.mark.parametrize(
    ("annotation", "parts", "said"),
    [
        (
            {"category_id": 9},
            {"categories": [{"id": 9, "name": "rode"}]},
            "label 'rode' is no class; did you mean 'road'",
        ),
        ({"category_id": 7}, {}, "category 7 is not in the file"),
        ({"segmentation": []}, {}, "no segmentation"),
        ({"segmentation": {"size": [5, 4], "counts": [0, 20]}}, {}, r"size is \[5, 4\], the image's \[4, 5\]"),
        ({"segmentation": {"size": [4, 5], "counts": [0, 19]}}, {}, "do not add up"),
        ({"segmentation": {"size": [4, 5], "counts": [0, 30, -10]}}, {}, "do not add up"),
        ({"segmentation": {"size": [4, 5], "counts": []}}, {}, "do not add up"),
        ({"segmentation": {"size": [4, 5], "counts": [0.5, 19.5]}}, {}, "do not add up"),
        ({"segmentation": {"size": [4, 5], "counts": ""}}, {}, "do not add up"),
        ({"segmentation": {"size": [4, 5], "counts": "0000"}}, {}, "do not add up"),
        ({"segmentation": {"size": [4, 5], "counts": "0o"}}, {}, "end early"),
        ({"segmentation": {"size": [4, 5], "counts": "0\x00"}}, {}, "no compressed runs"),
        ({"segmentation": {"size": [4, 5], "counts": "o" * 99}}, {}, "no compressed runs"),
        ({"segmentation": {"size": [4, 5], "counts": "ü"}}, {}, "damaged segmentation"),
        ({"segmentation": {"counts": [0, 20]}}, {}, "damaged segmentation"),
        ({"segmentation": "0000"}, {}, "damaged segmentation"),
        ({"segmentation": [[0, 0, 2, 2]]}, {}, "three points"),
        ({"segmentation": [[*SQUARE, 1]]}, {}, "three points"),
        ({"segmentation": [[0, 0, 1e9, 0, 2, 2]]}, {}, "far outside"),
        ({"segmentation": [[0, 0, float("nan"), 0, 2, 2]]}, {}, "far outside"),
        ({"segmentation": [["x"] * 6]}, {}, "damaged segmentation"),
        ({}, {"images": [{"id": 1, "file_name": "a.png", "height": 0, "width": 5}]}, "height and width"),
        ({}, {"images": [{"id": 1, "file_name": "a.png"}]}, "height and width"),
    ],
)
def test_damage_is_named_with_the_image(tmp_path, annotation, parts, said):
    path = write(tmp_path / "a.json", [{"category_id": 1, "segmentation": WHOLE, **annotation}], **parts)
    with pytest.raises(UserError, match=said) as error:
        read(path)
    assert "'a.png'" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON, or damaged"),
        ('{"images": [', "not JSON, or damaged"),
        ('{"images": [], "annotations": []}', "not COCO's instances JSON"),
        ('{"images": [], "annotations": [], "categories": [3]}', "not COCO's instances JSON"),
        ('[{"images": []}]', "not COCO's instances JSON"),
        ("7", "not COCO's instances JSON"),
        ('{"images": [{"id": 3}], "annotations": [], "categories": []}', "image 3 has no file_name"),
        ('{"images": [], "annotations": [{"image_id": 4}], "categories": []}', "image 4, which is not in the file"),
        ("[" * 100_000, "not JSON, or damaged"),
        (b"\xff\xfe\x00", "not JSON, or damaged"),
        (b"PK\x05\x06" + bytes(18), "holds no JSON file"),
    ],
)
def test_other_files_are_refused_in_a_line(tmp_path, text, said):
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=said) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_nothing_to_read(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "gone.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="holds no JSON file"):
        read(tmp_path / "folder")


def test_a_damaged_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.json", json.dumps(["x" * 1000]))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[500] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip: a\.json: cannot be read"):
        read(tmp_path / "a.zip")


@pytest.mark.parametrize("indent", [None, 2])
def test_lists_are_read_element_by_element(tmp_path, indent):
    values = [{"a": [1, {"]": "},["}]}, {"ü\n": 1.5e3}, {}, {"d": None}]
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + json.dumps(values, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [value for _, value in json_values(path)] == values
    text = path.read_text(encoding="utf-8")
    for damaged in (text.rstrip()[:-1], text.replace('"d"', "d"), text + "{}"):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(UserError, match="damaged"):
            list(json_values(path))


@pytest.mark.parametrize(
    ("class_names", "said"),
    [
        ([f"class {i}" for i in range(255)], "255 classes"),
        (["road", "void"], "the class 'void'"),
        (["road", "road"], "distinct"),
        (["road", " "], "not empty"),
    ],
)
def test_classes_that_cannot_be_labels(tmp_path, class_names, said):
    image = to_annotate(tmp_path, "a", None)
    with pytest.raises(UserError, match=said):
        export(tmp_path, [image], class_names)
    assert not list((tmp_path / "export").iterdir())


@pytest.mark.parametrize("id", ["../a", "/etc/a", "x/../../a"])
def test_ids_stay_below_the_folder(tmp_path, id):
    image = to_annotate(tmp_path, "a", None)
    with pytest.raises(UserError, match="cannot be a file's name"):
        export(tmp_path, [image, ToAnnotate(id, image.image, image.size)], list(CLASSES))
    assert not list((tmp_path / "export").iterdir())


def test_an_image_that_is_gone(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png: cannot be copied"):
        export(tmp_path, [ToAnnotate("gone", tmp_path / "gone.png", (4, 5))], list(CLASSES))


def test_without_pycocotools(tmp_path, monkeypatch):
    real = builtins.__import__
    monkeypatch.setattr(
        builtins,
        "__import__",
        lambda name, *rest: (_ for _ in ()).throw(ImportError) if name == "pycocotools" else real(name, *rest),
    )
    with pytest.raises(UserError, match=r"seg_al\[annotation\]"):
        read(write(tmp_path / "a.json", []))
