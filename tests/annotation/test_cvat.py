"""CVAT's masks: what is written is read again, by this package and by the parser that CVAT uses."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import annotators
import numpy as np
import pytest
from annotators import assert_same, read_all
from PIL import Image

from seg_al.annotation.base import ToAnnotate
from seg_al.annotation.cvat import Cvat
from seg_al.config import UserError

CLASSES = ("road", "car, small", "Baum")
PALETTE = np.array([(128, 64, 128), (0, 0, 142), (107, 142, 35)], np.uint8)
MASKS = {**annotators.MASKS, "nobody": None}


def to_annotate(folder: Path, masks: dict[str, np.ndarray | None]) -> list[ToAnnotate]:
    images = []
    for id, mask in masks.items():
        path = folder / f"{len(images)}.jpg"  # the id gives the name in CVAT
        size = (4, 5) if mask is None else mask.shape
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)
        images.append(ToAnnotate(id, path, size, None if mask is None else lambda mask=mask: mask))
    return images


def export(tmp_path: Path, masks=MASKS, classes=CLASSES, palette=PALETTE) -> tuple[Path, list[str]]:
    (tmp_path / "pool").mkdir()
    (tmp_path / "out").mkdir()
    lines = Cvat().export(to_annotate(tmp_path / "pool", masks), classes, np.array(palette, np.uint8), tmp_path / "out")
    return tmp_path / "out", lines


def read(source: Path, classes=CLASSES) -> dict[str, np.ndarray | None]:
    return read_all(Cvat(), source, classes)


def cvat_export(file: Path, labelmap: str, masks: dict[str, list], listed: str, **more: str) -> Path:
    """A zip as CVAT exports it; masks are colours."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("labelmap.txt", labelmap)
        archive.writestr("ImageSets/Segmentation/default.txt", listed)
        for id, colors in masks.items():
            buffer = io.BytesIO()
            Image.fromarray(np.array(colors, np.uint8)).save(buffer, "PNG")
            archive.writestr(f"SegmentationClass/{id}.png", buffer.getvalue())
        for name, text in more.items():
            archive.writestr(name, text)
    return file


CVATS = """# label:color_rgb:parts:actions
Baum:1,2,3::
background:0,0,0::
car, small:250,50,83::
road:51,221,255::
void:9,9,9::
"""


def test_what_is_exported_is_read_again(tmp_path):
    folder, _ = export(tmp_path)
    assert_same(read(folder / "annotations.zip"), MASKS)


def test_an_unpacked_folder_is_read_too(tmp_path):
    folder, _ = export(tmp_path)
    with zipfile.ZipFile(folder / "annotations.zip") as archive:
        archive.extractall(tmp_path / "unpacked" / "task 7")
    assert_same(read(tmp_path / "unpacked"), MASKS)


def test_the_files_are_those_that_cvat_asks_for(tmp_path):
    folder, lines = export(tmp_path)
    with zipfile.ZipFile(folder / "annotations.zip") as archive:
        names = set(archive.namelist())
        labelmap = archive.read("labelmap.txt").decode()
        listed = archive.read("ImageSets/Segmentation/default.txt").decode()
        classes = np.array(Image.open(io.BytesIO(archive.read("SegmentationClass/partial.png"))))
        objects = np.array(Image.open(io.BytesIO(archive.read("SegmentationObject/partial.png"))))
    assert labelmap == (
        "background:0,0,0::\nroad:128,64,128::\ncar, small:0,0,142::\nBaum:107,142,35::\nvoid:224,224,192::\n"
    )
    assert listed.splitlines() == list(MASKS)
    assert {n for n in names if "Segmentation/" not in n} == {
        "labelmap.txt",
        *(f"Segmentation{kind}/{id}.png" for kind in ("Class", "Object") for id, m in MASKS.items() if m is not None),
    }
    mask = MASKS["partial"]
    assert classes[mask == 1].tolist() == [[0, 0, 142]] * int((mask == 1).sum())
    # Objects in PASCAL VOC's colours of 0 (none), 1, 2, 3 and 255.
    for value, color in {
        254: (0, 0, 0),
        0: (128, 0, 0),
        1: (0, 128, 0),
        2: (128, 128, 0),
        255: (224, 224, 192),
    }.items():
        assert (objects[mask == value] == color).all()
    with zipfile.ZipFile(folder / "images.zip") as archive:
        assert archive.namelist() == [f"{id}.jpg" for id in MASKS]
        assert archive.read("night/ä ö.jpg") == (tmp_path / "pool" / "3.jpg").read_bytes()
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    assert labels == [
        {"name": name, "color": color, "type": "any", "attributes": []}
        for name, color in zip((*CLASSES, "void"), ("#804080", "#00008e", "#6b8e23", "#e0e0c0"), strict=True)
    ]
    assert all("\n" not in line for line in lines) and any("finished" in line for line in lines)


def test_without_suggestions_there_are_no_annotations(tmp_path):
    folder, lines = export(tmp_path, {"a": None})
    assert sorted(path.name for path in folder.iterdir()) == ["images.zip", "labels.json"]
    assert not any("annotations.zip" in line for line in lines)


def test_labels_of_cvat_come_in_their_own_order_and_colours(tmp_path):
    colors = [[(51, 221, 255), (0, 0, 0)], [(9, 9, 9), (1, 2, 3)], [(250, 50, 83), (250, 50, 83)]]
    source = cvat_export(tmp_path / "e.zip", CVATS, {"a/ü": colors, "unlisted": [[(0, 0, 0)]]}, "b\r\na/u\u0308\n")
    assert_same(read(source), {"b": None, "a/ü": np.array([[0, 254], [255, 2], [1, 1]]), "unlisted": np.array([[254]])})


def test_a_class_called_background_is_what_nobody_labeled(tmp_path):
    classes = ("background", "x")
    labels = "background:0,0,0::\nvoid:9,9,9::\nx:1,1,1::\n"
    source = cvat_export(tmp_path / "e.zip", labels, {"a": [[(0, 0, 0), (1, 1, 1)]]}, "a\n")
    assert_same(read(source, classes), {"a": np.array([[0, 1]])})
    coloured = cvat_export(tmp_path / "f.zip", labels.replace("0,0,0", "7,7,7"), {"a": [[(7, 7, 7)]]}, "a\n")
    assert_same(read(coloured, classes), {"a": np.array([[0]])})
    folder, lines = export(
        tmp_path, {"a": np.array([[0, 1, 255]], np.uint8)}, ("x", "background"), [(1, 1, 1), (0, 0, 0)]
    )
    with zipfile.ZipFile(folder / "annotations.zip") as archive:
        assert archive.read("labelmap.txt").decode().splitlines()[:2] == ["background:0,0,0::", "x:1,1,1::"]
    assert any("'background'" in line for line in lines)
    assert_same(read(folder / "annotations.zip", ("x", "background")), {"a": np.array([[0, 1, 255]])})
    (tmp_path / "two").mkdir()
    untouched = {"a": np.array([[0, 1, 254]], np.uint8)}
    folder, _ = export(tmp_path / "two", untouched, classes, [(7, 7, 7), (1, 1, 1)])
    assert_same(read(folder / "annotations.zip", classes), {"a": np.array([[0, 1, 0]])})


def test_colours_that_cvat_could_not_tell_apart_are_exchanged(tmp_path):
    palette = [(0, 0, 0), (224, 224, 192), (224, 224, 192)]
    masks = {"a": np.array([[0, 1, 2, 254, 255]], np.uint8)}
    folder, lines = export(tmp_path, masks, CLASSES, palette)
    assert_same(read(folder / "annotations.zip"), masks)
    colors = [label["color"] for label in json.loads((folder / "labels.json").read_text())]
    assert len(set(colors)) == 4 and "#000000" not in colors and colors[1] == "#e0e0c0"
    assert any("road, Baum" in line for line in lines)


def test_as_many_classes_as_there_are_values_whatever_their_colours(tmp_path):
    classes = tuple(f"class {i}" for i in range(254))
    masks = {"a": np.arange(256, dtype=np.uint8).reshape(8, 32)}
    folder, _ = export(tmp_path, masks, classes, np.zeros((254, 3)))
    assert_same(read(folder / "annotations.zip", classes), masks)


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (["x"] * 255, "255 classes.* at most 254"),
        (["a", "void"], "'void' has the name of the label for pixels that count for nothing"),
        (["a:b", " a", "#a", "a\nb"], "cannot hold: 'a:b', ' a', '#a', 'a.nb'"),
        (["a", "n" * 65], "cuts at 64 characters: nnn"),
    ],
)
def test_class_names_that_cvat_cannot_hold_are_refused_before_anything_is_written(tmp_path, classes, says):
    with pytest.raises(UserError, match=says) as caught:
        Cvat().export([], classes, np.zeros((len(classes), 3), np.uint8), tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_image_names_that_cvat_cannot_hold_are_refused_before_anything_is_written(tmp_path):
    names = ["a\nb", "c\\d", " e", "#f", "fine"]
    images = [ToAnnotate(id, tmp_path / "no.jpg", (1, 1)) for id in names]
    listed = ", ".join(map(repr, names[:4]))
    with pytest.raises(UserError, match=re.escape(f"cannot hold (4): {listed}; rename")):
        Cvat().export(images, CLASSES, PALETTE, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("labelmap", "says"),
    [
        ("background:0,0,0::\nroad:1,1,1::\nBaum:1,1,1::\n", "'road', 'Baum' share a colour"),
        ("background:0,0,0::\nroad:0,0,0::\n", "'background', 'road' share a colour"),
        ("background:1,1,1::\nroad:0,0,0::\n", "'road' is black, and so is what nobody labeled"),
        ("background:1,1::\n", "'background:1,1::' is not a label"),
        ("background:1,1,256::\n", "is not a label"),
        ("background:1,1,1\n", "is not a label"),
        ("a:1,1,1::\na:2,2,2::\n", "'a:2,2,2::' is not a label of its own"),
        ("# nothing\n", "names no label"),
    ],
)
def test_labelmaps_that_mean_two_things_or_none_are_refused(tmp_path, labelmap, says):
    with pytest.raises(UserError, match=rf"labelmap\.txt: .*{says}"):
        read(cvat_export(tmp_path / "e.zip", labelmap, {"a": [[(1, 1, 1)]]}, "a\n"))


def test_unknown_labels_are_named_with_image_and_nearest_class(tmp_path):
    labels = CVATS + "baun:5,5,5::\nunused:6,6,6::\n"
    source = cvat_export(tmp_path / "e.zip", labels, {"n/a": [[(5, 5, 5), (5, 5, 5), (0, 0, 0)]]}, "n/a\n")
    with pytest.raises(UserError, match=r"SegmentationClass/n/a\.png: has the label 'baun' \(2 pixels\).* 'Baum'"):
        read(source)
    cvat_export(source, labels, {"a": [[(1, 2, 3)]]}, "a\n")
    assert_same(read(source), {"a": np.array([[2]])})
    cvat_export(source, labels, {"a": [[(1, 2, 3), (1, 2, 4)]]}, "a\n")
    with pytest.raises(UserError, match=r"a\.png: has 1 pixels in colours like \(1, 2, 4\) that labelmap"):
        read(source)


def test_other_exports_and_damage_are_told_in_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "xml.zip", "w") as archive:
        archive.writestr("annotations.xml", "<a/>")
    with pytest.raises(UserError, match=r"holds no labelmap\.txt; export it from CVAT as 'Segmentation mask 1\.1'"):
        read(tmp_path / "xml.zip")
    with pytest.raises(UserError, match="lists no image"):
        read(cvat_export(tmp_path / "e.zip", CVATS, {}, "\n"))
    folder, _ = export(tmp_path)
    content = (folder / "annotations.zip").read_bytes()
    (tmp_path / "half.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"half\.zip: is neither a folder nor a whole zip"):
        read(tmp_path / "half.zip")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("labelmap.txt", CVATS)
        archive.writestr("SegmentationClass/a.png", b"no picture")
        archive.writestr("SegmentationClass/../../b.png", b"")
    with pytest.raises(UserError, match="could lie outside the zip"):
        read(tmp_path / "bad.zip")
    cvat_export(tmp_path / "bad.zip", CVATS, {}, "a\n", **{"SegmentationClass/a.png": "no picture"})
    with pytest.raises(UserError, match=r"bad\.zip: SegmentationClass/a\.png: is not an image") as caught:
        read(tmp_path / "bad.zip")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ["plain", "background", "254 classes"])
def test_the_parser_that_cvat_uses_reads_and_writes_the_same(tmp_path, case):
    """CVAT imports with datumaro's "voc", and exports with its "voc_segmentation" and a map of the labels' colours."""
    # CVAT's own branch of it, https://github.com/cvat-ai/datumaro; that of PyPI has this module elsewhere.
    pytest.importorskip("datumaro.plugins.voc_format")
    from datumaro.components.annotation import AnnotationType
    from datumaro.components.dataset import Dataset

    classes, palette, masks = CLASSES, PALETTE, MASKS
    if case == "background":
        classes, masks = ("road", "background", "Baum"), {"a": np.array([[0, 1, 2, 255]], np.uint8), "b": None}
    if case == "254 classes":
        classes, palette = tuple(f"class {i}" for i in range(254)), np.zeros((254, 3))
        masks = {"a": np.arange(256, dtype=np.uint8).reshape(8, 32)}
    folder, _ = export(tmp_path, masks, classes, palette)
    with zipfile.ZipFile(folder / "annotations.zip") as archive:
        archive.extractall(tmp_path / "unpacked")

    dataset = Dataset.import_from(str(tmp_path / "unpacked"), "voc")
    names = [label.name for label in dataset.categories()[AnnotationType.label].items]
    values = {name: i for i, name in enumerate(classes)} | {"void": 255}
    found: dict[str, np.ndarray | None] = {}
    for item in dataset:
        found[item.id] = None if masks[item.id] is None else np.full(masks[item.id].shape, 254, np.uint8)
        for annotation in item.annotations:
            assert annotation.type == AnnotationType.mask
            found[item.id][annotation.image.astype(bool)] = values[names[annotation.label]]
    assert_same(found, masks)

    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    colors = {label["name"]: tuple(bytes.fromhex(label["color"][1:])) for label in labels}
    if "background" not in colors:
        colors["background"] = (0, 0, 0)
    dataset.export(
        str(tmp_path / "back"),
        "voc_segmentation",
        apply_colormap=True,
        label_map={name: [color, [], []] for name, color in colors.items()},
    )
    assert_same(read(tmp_path / "back", classes), masks)
