"""PNG masks to and from people: what is written is read again, and what could mean something else is refused."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import annotators
import numpy as np
import pytest
from annotators import assert_same, read_all
from PIL import Image

from seg_al.annotation.base import ToAnnotate
from seg_al.annotation.masks import PngMasks
from seg_al.config import UserError

CLASSES = ("road", "car", "tree")
PALETTE = np.array([(128, 64, 128), (0, 0, 142), (107, 142, 35)], np.uint8)
MASKS = {**annotators.MASKS, "random": np.random.default_rng(0).choice(np.array([0, 1, 2, 255], np.uint8), (7, 9))}


def to_annotate(folder: Path, masks: dict[str, np.ndarray | None]) -> list[ToAnnotate]:
    images = []
    for id, mask in masks.items():
        path = folder / f"{id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (4, 5) if mask is None else mask.shape
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)
        images.append(ToAnnotate(id, path, size, None if mask is None else lambda mask=mask: mask))
    return images


def exported(tmp_path: Path, masks: dict[str, np.ndarray | None] = MASKS, classes=CLASSES, palette=PALETTE) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    PngMasks().export(to_annotate(tmp_path / "pool", masks), classes, palette, folder)
    return folder


def read(source: Path, classes=CLASSES) -> dict[str, np.ndarray | None]:
    return read_all(PngMasks(), source, classes)


def packed(folder: Path, file: Path, top: str = "") -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                archive.write(path, top + path.relative_to(folder).as_posix())
    return file


def written(path: Path, picture: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path.parent


@pytest.mark.parametrize("form", ["folder", "masks", "zip", "nested zip"])
def test_what_is_exported_is_read_again(tmp_path, form):
    folder = exported(tmp_path, {**MASKS, "nobody": None})
    known = {**MASKS, "nobody": None}
    if form == "masks":
        folder, known = folder / "masks", MASKS  # without the images nothing says what is missing
    if "zip" in form:
        folder = packed(folder, tmp_path / "done.zip", "my work/" if "nested" in form else "")
    assert_same(read(folder), known)


def test_viewers_show_the_palette_and_images_are_copied_as_they_are(tmp_path):
    folder = exported(tmp_path)
    with Image.open(folder / "masks" / "random.png") as picture:
        assert picture.mode == "P"
        shown = np.array(picture.convert("RGB"))
    mask = MASKS["random"]
    for i, color in enumerate(PALETTE.tolist()):
        assert (shown[mask == i] == color).all() and (mask == i).any()
    image = folder / "images" / "night" / "ä ö.jpg"
    assert image.read_bytes() == (tmp_path / "pool" / "night" / "ä ö.jpg").read_bytes()
    assert (folder / "classes.txt").read_text(encoding="utf-8") == "road\ncar\ntree\n"


def test_as_many_classes_as_there_are_values(tmp_path):
    classes = tuple(f"class {i}" for i in range(254))
    palette = np.random.default_rng(1).integers(0, 256, (254, 3), np.uint8)
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert_same(read(exported(tmp_path, {"a": mask}, classes, palette), classes), {"a": mask})


def test_more_classes_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"255 classes.* at most 254"):
        PngMasks().export([], ["x"] * 255, np.zeros((255, 3), np.uint8), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_suggestion_of_another_shape_is_a_mistake_of_the_program(tmp_path):
    image = ToAnnotate("a", to_annotate(tmp_path, {"a": None})[0].image, (4, 5), lambda: np.zeros((5, 4), np.uint8))
    with pytest.raises(ValueError, match=r"a: suggestion .*\(5, 4\)"):
        PngMasks().export([image], CLASSES, PALETTE, tmp_path)


def test_gray_is_read_by_value_and_indexed_by_index(tmp_path):
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    written(tmp_path / "m" / "gray.png", Image.fromarray(mask))
    indexed = Image.fromarray(mask)
    indexed.putpalette(bytes(range(255, -1, -1)) * 3)
    written(tmp_path / "m" / "indexed.png", indexed)
    few = Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8))
    few.putpalette([9, 9, 9, 8, 8, 8, 0, 0, 0])  # three colours: Pillow packs these in 2 bits a pixel
    folder = written(tmp_path / "m" / "few.png", few)
    assert (folder / "few.png").read_bytes()[24] == 2
    assert_same(read(folder), {"few": np.array([[0, 1], [2, 2]]), "gray": mask, "indexed": mask})


@pytest.mark.parametrize(
    ("picture", "options", "says"),
    [
        (Image.fromarray(np.array([[0, 1]], np.uint16)), {}, "gray of 16 bits; save masks as 8-bit"),
        (Image.fromarray(np.zeros((2, 2, 3), np.uint8)), {}, "picture in colour.* save it indexed"),
        (Image.fromarray(np.zeros((2, 2, 4), np.uint8)), {}, "picture in colour"),
        (Image.fromarray(np.array([[0, 1]], np.uint8)), {"bits": 4}, "gray of 4 bits"),
        (Image.fromarray(np.array([[0, 1]], bool)), {}, "gray of 1 bits"),
        (Image.fromarray(np.array([[3, 3, 253, 0]], np.uint8)), {}, r"3 \(2 pixels\), 253 \(1 pixel\), .*0-2 .*'tree'"),
        (Image.fromarray(np.zeros((2, 2, 3), np.uint8)), {"format": "JPEG"}, "not a whole PNG"),
    ],
)
def test_masks_of_other_kinds_are_refused(tmp_path, picture, options, says):
    folder = tmp_path / "m"
    if bits := options.pop("bits", None):  # Pillow writes no gray of 4 bits; a header that says so does as well
        data = bytearray(_png(picture))
        data[24] = bits
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        folder.mkdir()
        (folder / "a.png").write_bytes(data)
    else:
        written(folder / "a.png", picture, **options)
    with pytest.raises(UserError, match=rf"a\.png: .*{says}") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_classes_of_another_order_are_refused(tmp_path):
    folder = exported(tmp_path)
    with pytest.raises(UserError, match=r"classes\.txt: class 1 is 'car', but the data set's is 'tree'"):
        read(folder, ("road", "tree", "car"))
    with pytest.raises(UserError, match="class 3 is None, but the data set's is 'sky'"):
        read(folder, (*CLASSES, "sky"))


def test_what_systems_add_is_left_out_and_names_of_macos_are_read(tmp_path):
    data = _png(Image.fromarray(np.zeros((1, 1), np.uint8)))
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as archive:
        for name in ("masks/e\u0301.png", "__MACOSX/masks/._e\u0301.png", "masks/.DS_Store", "masks/.thumbs/x.png"):
            archive.writestr(name, data)
    content = (tmp_path / "mac.zip").read_bytes()
    # As macOS writes it: names in UTF-8 without the flag (bit 11) that says so, in both headers.
    for mark, offset in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        parts = content.split(mark)
        content = mark.join(
            [parts[0], *(p[: offset - 4] + bytes([p[offset - 4] & ~8]) + p[offset - 3 :] for p in parts[1:])]
        )
    (tmp_path / "mac.zip").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "mac.zip") as archive:
        assert "é" not in archive.namelist()[0]  # what Python makes of it
    assert list(read(tmp_path / "mac.zip")) == ["é"]


@pytest.mark.parametrize("name", ["../a.png", "masks/../../a.png", "/etc/a.png", "C:/a.png", "masks\\a.png"])
def test_zips_that_point_outside_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("masks/b.png", b"")
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, b"")
    with pytest.raises(UserError, match="could lie outside the zip"):
        read(tmp_path / "bad.zip")


def test_damage_is_told_in_one_line(tmp_path):
    source = packed(exported(tmp_path), tmp_path / "done.zip")
    content = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        info = archive.getinfo("masks/random.png")
    content[info.header_offset + 60] ^= 255
    source.write_bytes(content)
    with pytest.raises(UserError, match=r"done\.zip: masks/random\.png: cannot be read") as caught:
        read(source)
    assert "\n" not in str(caught.value)
    source.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="neither a folder nor a whole zip"):
        read(source)
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "no.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no PNG masks"):
        read(tmp_path / "empty")
    (tmp_path / "empty" / "a.png").write_bytes(_png(Image.fromarray(MASKS["wide"]))[:200])
    with pytest.raises(UserError, match=r"a\.png: is not a whole PNG"):
        read(tmp_path / "empty")


def test_a_name_twice_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("masks/\u00e9.png", b"1")
        archive.writestr("masks/e\u0301.png", b"2")
    with pytest.raises(UserError, match=r"holds masks/é\.png twice"):
        read(tmp_path / "two.zip")
