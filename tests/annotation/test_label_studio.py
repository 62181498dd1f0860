"""Label Studio: tasks with predictions out, its JSON export in; the code of brush masks bit by bit."""

from __future__ import annotations

import json
import posixpath
import re
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from annotators import masks_of_all_kinds, to_annotate

from seg_al.annotation import label_studio
from seg_al.annotation.base import UNTOUCHED, Annotated, ToAnnotate
from seg_al.annotation.label_studio import LabelStudio, decode, encode
from seg_al.config import UserError

CLASSES = ("road", "car", "tree")
WORLD = "night/deep/日本 ü"
SIGNS = "a b+#%41?&=;'\"v1.5"


def masks() -> dict[str, tuple[np.ndarray, int]]:
    """Return masks of every kind by the samples' ids, and their number of classes."""
    return masks_of_all_kinds() | {
        "nothing": (np.full((5, 6), UNTOUCHED, np.uint8), 3),
        "one class": (np.full((150, 160), 1, np.uint8), 3),  # a run longer than its code can be
        "longest run": (np.full((128, 128), 1, np.uint8), 3),
        WORLD: (np.eye(6, 5, dtype=np.uint8), 3),
        SIGNS: (np.tri(5, 8, dtype=np.uint8), 3),
    }


def names(count: int) -> list[str]:
    return list(CLASSES) if count == 3 else [f"class {i}" for i in range(count)]


def export(root: Path, images: list[ToAnnotate], class_names: list[str]) -> tuple[Path, list[str]]:
    """Export into root / "export"; return the first file of tasks and the lines for people."""
    folder = root / "export"
    folder.mkdir()
    palette = np.arange(3 * len(class_names)).reshape(-1, 3).astype(np.uint8)
    lines = LabelStudio().export(iter(images), class_names, palette, folder)
    return folder / "tasks-001.json", lines


def submit(path: Path) -> Path:
    """Write the JSON export of a project where annotators have submitted every prediction as it is."""
    exported = []
    for number, task in enumerate(json.loads(path.read_text(encoding="utf-8")), start=31):
        result = [{**region, "origin": "prediction"} for region in task["predictions"][0]["result"]]
        annotation = {
            "id": number + 500,
            "completed_by": 1,
            "result": result,
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": "2026-01-02T03:04:05.678901Z",
            "lead_time": 12.5,
            "prediction": {},
            "result_count": len(result),
        }
        exported.append(
            {
                "id": number,
                "annotations": [annotation],
                "drafts": [],
                "predictions": [],
                "data": task["data"],
                "meta": {},
                "total_annotations": 1,
            }
        )
    path.write_text(json.dumps(exported, ensure_ascii=False), encoding="utf-8")
    return path


def brush(label: str, rle: list[int], size: tuple[int, int] = (4, 5), **more: Any) -> dict[str, Any]:
    return {
        "type": "brushlabels",
        "original_height": size[0],
        "original_width": size[1],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": rle, "brushlabels": [label]},
        **more,
    }


def write(path: Path, *annotations: Any, **task: Any) -> Path:
    """Write an export of one task; an annotation is a dict, or the list of its regions."""
    made = [{"id": i, "result": a} if isinstance(a, list) else {"id": i, **a} for i, a in enumerate(annotations)]
    data = {"sample": "a", "height": 4, "width": 5, "image": "x"}
    path.write_text(json.dumps([{"id": 8, "data": data, "annotations": made, **task}]), encoding="utf-8")
    return path


def read(path: Path, class_names: tuple[str, ...] = CLASSES) -> list[Annotated]:
    return list(LabelStudio().read(path, class_names))


def rle_pack(values: list[int], sizes: tuple[int, ...] = (3, 4, 8, 16)) -> list[int]:
    """Encode as rle-pack, in the browser, does: runs, and between them series of values that are no run."""
    text = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)

    def block(flag: int, count: int, content: list[int]) -> str:
        index = next(i for i, size in enumerate(sizes) if count <= 1 << size)
        return f"{flag}{index:02b}{count - 1:0{sizes[index]}b}" + "".join(f"{value:08b}" for value in content)

    at, longest = 0, 1 << max(sizes)
    series: list[int] = []
    while at < len(values):
        count = 1
        while at + count < len(values) and values[at + count] == values[at] and count < longest:
            count += 1
        if count == 1:
            series.append(values[at])
        if series and (count > 1 or len(series) == longest or at + 1 == len(values)):
            text += block(0, len(series), series)
            series = []
        if count > 1:
            text += block(1, count, values[at : at + 1])
        at += count
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def rgba(alpha: np.ndarray) -> list[int]:
    """Return what the browser encodes: four times the opacity, as it makes the picture grey."""
    return np.repeat(alpha.ravel(), 4).tolist()


@pytest.mark.parametrize("id", masks())
def test_a_mask_comes_back_as_it_was_suggested(tmp_path, id):
    mask, count = masks()[id]
    path, _ = export(tmp_path, [to_annotate(tmp_path, id, mask)], names(count))
    [annotated] = read(submit(path), tuple(names(count)))
    assert annotated.id == id
    assert annotated.mask.dtype == np.uint8
    np.testing.assert_array_equal(annotated.mask, mask)


def test_the_makers_converter_reads_the_tasks(tmp_path):
    makers = pytest.importorskip("label_studio_sdk.converter.brush")
    some = {id: mask for id, (mask, count) in masks().items() if count == 3}
    path, _ = export(tmp_path, [to_annotate(tmp_path, id, mask) for id, mask in some.items()], list(CLASSES))
    for task, mask in zip(json.loads(path.read_text()), some.values(), strict=True):
        regions = task["predictions"][0]["result"]
        layers = makers.decode_from_annotation("label", [{**r, **r["value"]} for r in regions])
        assert len(layers) == len(regions)
        found = np.full(mask.shape, UNTOUCHED)
        for name, alpha in layers.items():
            label = name.split("-")[1]
            found[alpha == 255] = 255 if label == "void" else CLASSES.index(label)
            assert set(np.unique(alpha)) <= {0, 255}
        np.testing.assert_array_equal(found, mask)


def test_the_makers_check_accepts_configuration_and_tasks(tmp_path):
    makers = pytest.importorskip("label_studio_sdk.label_interface")
    class_names = ["road & <rail>", 'a "car"', "木"]
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    path, _ = export(tmp_path, [to_annotate(tmp_path, "a", mask)], class_names)
    interface = makers.LabelInterface((path.parent / "label_config.xml").read_text(encoding="utf-8"))
    interface.validate()
    assert list(interface.get_control("label").labels) == [*class_names, "void"]
    for task in json.loads(path.read_text()):
        assert interface.validate_task({"data": task["data"]})
        assert interface.validate_prediction(task["predictions"][0], return_errors=True) == []


@pytest.mark.parametrize("id", masks())
def test_the_code_of_a_region_is_the_makers(id):
    makers = pytest.importorskip("label_studio_sdk.converter.brush")
    mask, _ = masks()[id]
    for value in np.unique(mask):
        expected = makers.mask2rle(np.where(mask == value, 255, 0).astype(np.uint8))
        ours = encode(mask == value)
        assert ours == expected[: len(ours)] and not any(expected[len(ours) :])  # theirs may end in a byte too many


@pytest.mark.parametrize("id", masks())
def test_the_code_of_a_region_is_that_of_the_browser(id):
    mask, _ = masks()[id]
    for value in np.unique(mask):
        # No run is a single value where all four channels are the same: the two codes are equal bit by bit.
        assert encode(mask == value) == rle_pack(rgba(np.where(mask == value, 255, 0)))


@pytest.mark.parametrize("sizes", [(3, 4, 8, 16), (1, 2, 3, 4), (16, 8, 4, 3)])
def test_smoothed_strokes_and_series_of_values_are_decoded(sizes):
    rng = np.random.default_rng(5)
    alpha = np.repeat(rng.integers(0, 256, (6, 60)), 5, axis=1).astype(np.uint8)
    np.testing.assert_array_equal(decode(rle_pack(rgba(alpha), sizes), *alpha.shape), alpha)
    colours = np.concatenate([rng.integers(0, 256, (6, 300, 3)), alpha[..., None]], axis=2)  # no runs at all
    np.testing.assert_array_equal(decode(rle_pack(colours.ravel().tolist(), sizes), *alpha.shape), alpha)


def test_a_pixel_belongs_to_a_region_from_half_of_its_opacity(tmp_path):
    whole = np.array([[0, 1, 127, 128, 255]] * 4)
    faint = np.array([[0, 20, 49, 50, 100]] * 4)  # throughout, as regions that programs made
    for alpha, expected in ((whole, [0, 0, 0, 1, 1]), (faint, [0, 0, 0, 1, 1])):
        [annotated] = read(write(tmp_path / "a.json", [brush("car", rle_pack(rgba(alpha)))]))
        assert annotated.mask.tolist() == [[1 if inside else UNTOUCHED for inside in expected]] * 4


def test_regions_of_one_label_add_up_and_later_ones_lie_on_top(tmp_path):
    left, right, top, corner = (np.zeros((4, 5), bool) for _ in range(4))
    left[:, :2] = right[:, 4:] = top[:2] = corner[0, 0] = True
    regions = [
        brush("road", encode(left)),
        brush("car", encode(top)),
        brush("void", encode(corner)),
        brush("road", encode(right)),
        brush("tree", encode(np.zeros((4, 5), bool))),
        brush("tree", []),  # erased
        {"type": "choices", "value": {"choices": ["blurred"]}, "original_height": 9, "original_width": 9},
        {"type": "relation", "from_id": "x", "to_id": "y"},
    ]
    expected = np.full((4, 5), UNTOUCHED)
    expected[:, :2] = 0
    expected[:2] = 1
    expected[0, 0] = 255
    expected[:, 4] = 0
    [annotated] = read(write(tmp_path / "a.json", regions))
    np.testing.assert_array_equal(annotated.mask, expected)


EVERYTHING = encode(np.ones((4, 5), bool))


@pytest.mark.parametrize(
    "task",
    [
        {"annotations": [{"id": 1, "was_cancelled": True, "result": [brush("car", EVERYTHING)]}]},
        {"annotations": [], "drafts": [{"id": 1, "result": [brush("car", EVERYTHING)]}]},
        {"annotations": [], "predictions": [{"result": [brush("car", EVERYTHING)]}]},
    ],
)
def test_skipped_drafts_and_predictions_are_not_finished(tmp_path, task):
    assert [(a.id, a.mask) for a in read(write(tmp_path / "a.json", **task))] == [("a", None)]


def test_the_exported_tasks_themselves_are_not_finished(tmp_path):
    some = [to_annotate(tmp_path, "a", None), to_annotate(tmp_path, "b", np.zeros((4, 5), np.uint8))]
    path, _ = export(tmp_path, some, list(CLASSES))
    assert [(a.id, a.mask) for a in read(path)] == [("a", None), ("b", None)]


def test_submitted_without_a_region(tmp_path):
    for result in ([], None):
        [annotated] = read(write(tmp_path / "a.json", {"result": result}))
        assert annotated.mask.tolist() == [[UNTOUCHED] * 5] * 4


def test_a_task_annotated_twice_comes_twice(tmp_path):
    path = write(
        tmp_path / "a.json",
        [brush("road", EVERYTHING)],
        {"was_cancelled": True, "result": []},
        [brush("car", EVERYTHING)],
    )
    first, second = read(path)
    assert (first.id, first.mask[0, 0], second.id, second.mask[0, 0]) == ("a", 0, "a", 1)
    assert first.where == f"{path}, task 8, annotation 0" and second.where == f"{path}, task 8, annotation 2"


def test_a_zip_and_a_folder(tmp_path):
    (tmp_path / "work").mkdir()
    path = write(tmp_path / "work" / "result.json", [brush("car", EVERYTHING)])
    with zipfile.ZipFile(tmp_path / "work.zip", "w") as archive:
        archive.write(path, "result.json")
    for source in (tmp_path / "work", tmp_path / "work.zip"):
        assert [a.mask[0, 0] for a in read(source)] == [1]


def test_label_studio_finds_the_images(tmp_path):
    ids = [WORLD, SIGNS, "x"]
    path, lines = export(tmp_path, [to_annotate(tmp_path, id, None) for id in ids], list(CLASSES))
    root = Path(re.search(r"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=(\S+) ", "\n".join(lines))[1])
    storage = Path(re.search(r"absolute local path (.*); save", "\n".join(lines))[1])
    assert storage == tmp_path / "the pool" and root == tmp_path
    for task, id in zip(json.loads(path.read_text()), ids, strict=True):
        url = urlsplit(task["data"]["image"])
        assert url.path == "/data/local-files/" and not url.fragment and url.query.isascii()
        [asked] = parse_qs(url.query)["d"]  # from here on as Label Studio's view of local files does
        served = root / posixpath.normpath(asked).lstrip("/")
        assert served == tmp_path / "the pool" / f"{id}.png" and served.is_file()
        assert str(served.parent).startswith(str(storage))
        assert task["data"]["sample"] == id


def test_images_of_several_folders(tmp_path):
    images = []
    for folder in ("one", "two/three"):
        images.append(to_annotate(tmp_path / folder, "a", None))
    _, lines = export(tmp_path, images, list(CLASSES))
    assert f"DOCUMENT_ROOT={tmp_path.parent} " in lines[0] and f"path {tmp_path};" in lines[2]


def test_labels_and_their_colours(tmp_path):
    class_names = ["road & <rail>", 'a "car"', "木"]
    path, _ = export(tmp_path, [to_annotate(tmp_path, "a", None)], class_names)
    view = ElementTree.parse(path.parent / "label_config.xml").getroot()
    assert view.find("Image").get("value") == "$image"
    labels = view.find("BrushLabels")
    assert labels.get("toName") == view.find("Image").get("name")
    assert [(label.get("value"), label.get("background")) for label in labels] == [
        (class_names[0], "#000102"),
        (class_names[1], "#030405"),
        (class_names[2], "#060708"),
        ("void", "#e0e0c0"),
    ]


def test_lines_speak_of_predictions_and_of_formats_that_browsers_lack(tmp_path):
    _, lines = export(tmp_path, [to_annotate(tmp_path, "a", None)], list(CLASSES))
    assert not re.search("predictions|Browsers", "\n".join(lines))
    (tmp_path / "b").mkdir()
    mask = np.zeros((4, 5), np.uint8)
    _, lines = export(tmp_path / "b", [ToAnnotate("a", tmp_path / "a.TIF", (4, 5), lambda: mask)], list(CLASSES))
    assert re.search("use predictions to prelabel", "\n".join(lines)) and re.search(r"show \.TIF", "\n".join(lines))


def test_tasks_are_split_into_files(tmp_path, monkeypatch):
    monkeypatch.setattr(label_studio, "_FILE_SIZE", 1100)
    mask = np.zeros((4, 5), np.uint8)
    ids = [f"image {i}" for i in range(7)]
    path, lines = export(tmp_path, [to_annotate(tmp_path, id, mask) for id in ids], list(CLASSES))
    files = sorted(path.parent.glob("tasks-*.json"))
    assert [file.name for file in files] == [f"tasks-{i:03}.json" for i in range(1, len(files) + 1)]
    assert 2 <= len(files) <= 6 and all(file.stat().st_size < 1200 for file in files)
    assert all(str(file) in "\n".join(lines) for file in files)
    assert [task["data"]["sample"] for file in files for task in json.loads(file.read_text())] == ids


def without(region: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in region.items() if k != key}


def with_value(**value: Any) -> dict[str, Any]:
    region = brush("car", EVERYTHING)
    return {**region, "value": {**region["value"], **value}}


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (brush("rode", EVERYTHING), "label 'rode' is no class; did you mean 'road'"),
        (brush("car", EVERYTHING, size=(5, 4)), "of 5 x 4 pixels, turned by 0, on an image of 4 x 5"),
        (brush("car", EVERYTHING, image_rotation=90), "turned by 90"),
        (brush("car", encode(np.ones((2, 5), bool))), "40 values of 8 bits, not the RGBA of 4 x 5 pixels"),
        (brush("car", EVERYTHING[:-2]), "ends early"),
        (brush("car", EVERYTHING[:5]), "ends early"),
        (brush("car", [*rle_pack([9] * 80)[:4], *rle_pack([9] * 84)[4:]]), "do not add up"),
        (brush("car", [*EVERYTHING[:4], 255, *EVERYTHING[5:]]), "values of 32 bits"),
        (brush("car", [256, *EVERYTHING]), "damaged region"),
        (brush("car", ["x"]), "damaged region"),
        (with_value(rle=None, brushlabels=["car", "road"]), "damaged region"),
        (with_value(brushlabels=[]), "damaged region"),
        (with_value(brushlabels=[3]), "label '3' is no class"),
        (without(brush("car", EVERYTHING), "original_width"), "damaged region"),
        (without(brush("car", EVERYTHING), "value"), "damaged region"),
        (brush("car", EVERYTHING, type="brush"), "a brush region"),
        (brush("car", EVERYTHING, type="polygonlabels"), "a polygonlabels region"),
        (brush("car", EVERYTHING, type="labels"), "a labels region"),
        ("region", "damaged region"),
    ],
)
def test_damage_is_named_with_the_image(tmp_path, region, said):
    with pytest.raises(UserError, match=said) as error:
        read(write(tmp_path / "a.json", [region]))
    assert "task 8, image 'a'" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"id": 1, "image": "x", "label": [], "annotator": 1}]', "not JSON-MIN"),
        ('{"images": [], "annotations": [], "categories": []}', "not Label Studio's JSON export"),
        ("[1]", "not Label Studio's JSON export"),
        ('[{"id": 1, "data": {"image": "x"}, "annotations": []}]', "task 1: its data have no 'sample'"),
        ('[{"id": 1, "data": {"sample": "a"}, "annotations": [7]}]', "task 1: damaged annotations"),
        ('[{"id": 1, "data": {"sample": "a"}, "annotations": {"a": 7}}]', "task 1: damaged annotations"),
        ('[{"id": 1, "data": {"sample": "a", "height": 4}, "annotations": [{}]}]', "task 1: its data have height 4"),
        ('[{"id": 1, "data": {"sample": "a"}}, {"id": 2, "da', "damaged .*char 47"),
    ],
)
def test_other_files_are_refused_in_a_line(tmp_path, text, said):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("class_names", "said"),
    [
        ([f"class {i}" for i in range(255)], "255 classes"),
        (["road", "void"], "the class 'void'"),
        (["road", "$car"], r"'\$car'.* no \$"),
        (["road", "c\x01ar"], "no control characters"),
    ],
)
def test_classes_that_cannot_be_labels(tmp_path, class_names, said):
    with pytest.raises(UserError, match=said):
        export(tmp_path, [to_annotate(tmp_path, "a", None)], class_names)
    assert not list((tmp_path / "export").iterdir())


def test_nothing_to_annotate(tmp_path):
    with pytest.raises(UserError, match="no images"):
        export(tmp_path, [], list(CLASSES))
