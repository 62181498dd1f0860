"""Files in every format that people have, and every way in which they are broken."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from seg_al.config import UserError
from seg_al.data.images import image_size, probe_image, read_color_mask, read_image, read_mask

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GRAY = RGB[..., 0].copy()
IDS = np.array([[0, 1, 2], [3, 200, 255]], dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff", "a.bmp", "ä ö.PNG", "two words.webp"])
def test_lossless_images_come_back_as_rgb(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    Image.fromarray(RGB).save(tmp_path / name, **options)
    np.testing.assert_array_equal(read_image(tmp_path / name), RGB)
    assert image_size(tmp_path / name) == probe_image(tmp_path / name) == (6, 9)


def test_jpeg_has_red_first(tmp_path):
    Image.new("RGB", (16, 8), (250, 10, 10)).save(tmp_path / "a.jpg")
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (8, 16, 3) and image.dtype == np.uint8
    assert image[..., 0].min() > 230 and image[..., 2].max() < 40


def test_alpha_is_dropped_and_gray_and_palette_become_rgb(tmp_path):
    Image.fromarray(np.dstack([RGB, GRAY])).save(tmp_path / "rgba.png")
    Image.fromarray(GRAY).save(tmp_path / "gray.png")
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "palette.png", transparency=b"\x00\xff")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), np.dstack([GRAY] * 3))
    assert read_image(tmp_path / "palette.png").tolist() == [
        [[10, 20, 30], [40, 50, 60]],
        [[40, 50, 60], [10, 20, 30]],
    ]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_brightness(tmp_path, suffix):
    """8-bit levels times 257 span 16 bits; a reader that clips or wraps gives anything but them."""
    Image.fromarray(GRAY.astype(np.uint16) * 257).save(tmp_path / f"gray.{suffix}")
    cv2.imwrite(str(tmp_path / f"color.{suffix}"), RGB[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / f"gray.{suffix}"), np.dstack([GRAY] * 3))
    if suffix == "png":
        np.testing.assert_array_equal(read_image(tmp_path / "color.png"), RGB)


def test_float_images_are_refused(tmp_path):
    Image.fromarray(GRAY.astype(np.float32)).save(tmp_path / "a.tif")
    for read in (read_image, probe_image):
        with pytest.raises(UserError, match=r"a\.tif: has floating-point pixels"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_opencv_does(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    blocks = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    Image.fromarray(np.dstack([blocks] * 3)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    image = read_image(tmp_path / "a.jpg")
    expected = cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_COLOR)
    assert image.shape == expected.shape and image.shape[:2] == image_size(tmp_path / "a.jpg")
    np.testing.assert_allclose(image.astype(int), expected[..., ::-1].astype(int), atol=4)


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_mask_ids_are_gray_values_and_palette_indices(tmp_path, mode, suffix):
    mask = Image.fromarray(IDS)
    if mode == "P":
        mask = Image.frombytes("P", (3, 2), IDS.tobytes())
        mask.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    mask.save(tmp_path / f"m.{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"m.{suffix}"), IDS)


def test_other_kinds_of_ids(tmp_path):
    wide = np.array([[0, 256], [1000, 65535]], dtype=np.uint16)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide).save(tmp_path / "wide.tif")
    Image.fromarray(IDS > 1).save(tmp_path / "bits.png")
    Image.fromarray(np.dstack([IDS] * 3)).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([IDS] * 3 + [IDS * 0 + 9])).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "wide.png"), wide)
    np.testing.assert_array_equal(read_mask(tmp_path / "wide.tif"), wide)
    np.testing.assert_array_equal(read_mask(tmp_path / "bits.png"), IDS > 1)
    np.testing.assert_array_equal(read_mask(tmp_path / "rgb.png"), IDS)
    np.testing.assert_array_equal(read_mask(tmp_path / "rgba.png"), IDS)


@pytest.mark.parametrize(("bits", "most"), [(1, 1), (2, 3), (4, 15)])
def test_gray_of_few_bits_is_not_stretched(tmp_path, bits, most):
    """A 4-bit gray PNG holds ids up to 15; decoders stretch them to 255, which suits pictures alone."""
    ids = np.arange(8, dtype=np.uint8).reshape(1, 8) % (most + 1)
    packed = np.packbits(np.unpackbits(ids[..., None], axis=-1)[..., 8 - bits :].reshape(1, -1), axis=-1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)
    data = zlib.compress(b"\0" + packed.tobytes())
    (tmp_path / "m.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), ids)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_lossy_masks_are_refused_whatever_their_suffix(tmp_path, suffix):
    Image.fromarray(GRAY).save(tmp_path / f"m.{suffix}", format="WEBP" if suffix == "webp" else "JPEG")
    for read in (read_mask, read_color_mask):
        with pytest.raises(UserError, match=rf"m\.{suffix}: is a (JPEG|WEBP) mask.*save masks as PNG"):
            read(tmp_path / f"m.{suffix}")


def test_a_colour_picture_is_no_mask_of_ids(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "m.png")
    with pytest.raises(UserError, match=r"m\.png: is a colour picture.*colors="):
        read_mask(tmp_path / "m.png")
    np.testing.assert_array_equal(read_color_mask(tmp_path / "m.png"), RGB)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("read", [read_image, probe_image])
def test_broken_files_are_named(tmp_path, suffix, read):
    large = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(large).save(path)
    read(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"a\.{suffix}: (cannot be read|is not an image).*copy the file again"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=rf"a\.{suffix}: is empty \(0 bytes\)"):
        read(path)
    path.write_text("<html>404</html>")
    with pytest.raises(UserError, match=rf"a\.{suffix}: is not an image"):
        read(path)
    path.unlink()
    with pytest.raises(UserError, match=rf"a\.{suffix}: does not exist"):
        read(path)
    path.mkdir()
    with pytest.raises(UserError, match=rf"a\.{suffix}: is a folder"):
        read(path)


def test_what_cameras_append_to_a_jpeg_is_not_damage(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    with open(tmp_path / "a.jpg", "ab") as file:
        file.write(b"SEFT" * 100)
    assert probe_image(tmp_path / "a.jpg") == (6, 9)
    assert read_image(tmp_path / "a.jpg").shape == (6, 9, 3)
