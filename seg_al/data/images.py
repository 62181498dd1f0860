"""Reading image and mask files.

A file that cannot be used is a UserError of the form ``path: what is wrong; what to do``.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from seg_al.config import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")

# How a camera says that the sensor's picture must be turned to stand upright (EXIF tag 0x0112).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as a person sees it, (H, W, 3) uint8 RGB.

    JPEG, PNG, TIFF, BMP or WebP, of any mode: gray is repeated, a palette looked up, transparency dropped,
    16 bits reduced to their high byte; of several frames the first. A camera's EXIF orientation is applied,
    as viewers and annotation tools do: a mask belongs to the upright image.

    Raises:
        UserError: missing, empty, truncated, or not an image.
    """
    with _opened(path) as image:
        return _upright(image, path)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Read an image as `read_image` does, from the bytes of a file that errors call `name`."""
    with _opened(name, data) as image:
        return _upright(image, name)


def read_mask(path: str | Path) -> np.ndarray:
    """Read the label ids of a mask file, (H, W) uint8, uint16 or int32, exactly as they were written.

    Ids are the gray values, or in a palette image (mode P) the *indices*: its colours are decoration.
    An RGB(A) file counts as gray where its three channels are equal.

    Raises:
        UserError: unreadable, lossy (JPEG, WebP), or a colour picture.
    """
    with _opened_mask(path) as mask:
        if mask.mode in ("RGB", "RGBA", "LA"):
            channels = np.array(mask)
            if mask.mode != "LA" and not (channels[..., :1] == channels[..., 1:3]).all():
                raise UserError(f"{path}: is a colour picture, not label ids; say colors=((r, g, b), ...), one a class")
            return np.ascontiguousarray(channels[..., 0])
        if mask.mode not in ("1", "L", "P", "I") and not mask.mode.startswith("I;16"):
            raise UserError(f"{path}: has pixels of mode {mask.mode}, not label ids; save ids as 8- or 16-bit PNG")
        scale = {"L;2": 85, "L;4": 17}.get(_raw_mode(mask), 1)
        values = np.array(mask)
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return values.astype(np.uint16)  # into the machine's byte order
    # Gray of 2 or 4 bits comes stretched to 0..255 by the decoder, which suits images and ruins ids.
    return values // np.uint8(scale) if scale > 1 else values


def read_color_mask(path: str | Path) -> np.ndarray:
    """Read the colours of a mask file, (H, W, 3) uint8 RGB; transparency is dropped.

    Raises:
        UserError: unreadable or lossy (JPEG, WebP).
    """
    with _opened_mask(path) as mask:
        return _rgb(mask, path)


def image_size(path: str | Path) -> tuple[int, int]:
    """Return height and width as `read_image` gives them, from the file's header alone."""
    with _opened(path) as image:
        return _size(image)


def probe_image(path: str | Path) -> tuple[int, int]:
    """Return height and width of an image that looks whole, without decoding it where the format allows.

    A JPEG or PNG must end with its end marker; one that does not, and every other format, is decoded.
    Damage inside a file whose end is intact shows only in `read_image`.

    Raises:
        UserError: as `read_image`.
    """
    with _opened(path) as image:
        size = _size(image)
        _refuse_float(image, path)
        end = _ENDS.get(image.format or "")
        if end is None or end not in _tail(path):  # cameras append data of their own: decoding decides
            image.load()
        return size


@contextmanager
def _opened(path: str | Path, data: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image file, or its `data`; whatever its decoder raises, and decoders raise anything, names the file."""
    try:
        with Image.open(path if data is None else io.BytesIO(data)) as image:
            yield image
    except (UserError, MemoryError):
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist; restore it or remove what refers to it") from None
    except Exception as error:
        advice = "copy the file again or remove it"
        if os.path.isdir(path):
            raise UserError(f"{path}: is a folder where an image file should be; rename or remove it") from None
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise UserError(f"{path}: is empty (0 bytes); {advice}") from None
        if isinstance(error, UnidentifiedImageError):
            raise UserError(f"{path}: is not an image, or in an unknown format; {advice}") from None
        raise UserError(f"{path}: cannot be read ({error}); {advice}") from None


@contextmanager
def _opened_mask(path: str | Path) -> Iterator[Image.Image]:
    with _opened(path) as mask:
        if mask.format in ("JPEG", "MPO", "WEBP"):
            raise UserError(f"{path}: is a {mask.format} mask, which alters label ids; {LOSSLESS}")
        yield mask


LOSSLESS = "save masks as PNG, from the original labels"


def _orientation(image: Image.Image) -> int:
    if image.format not in ("JPEG", "MPO", "WEBP"):  # Pillow turns TIFF itself; PNG would be decoded to find out
        return 1
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block leaves the pixels readable
        return 1


def _size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if _orientation(image) >= 5 else (height, width)


def _upright(image: Image.Image, path: str | Path) -> np.ndarray:
    turn = _TURNS.get(_orientation(image))
    return _rgb(image if turn is None else image.transpose(turn), path)


def _rgb(image: Image.Image, path: str | Path) -> np.ndarray:
    _refuse_float(image, path)
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.array(image)
        if values.min() < 0 or values.max() > 65535:
            raise UserError(f"{path}: has gray values beyond 16 bits; convert it to an 8-bit image")
        return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
    image.info.pop("transparency", None)  # dropped anyway; Pillow warns about some of its forms
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _refuse_float(image: Image.Image, path: str | Path) -> None:
    if image.mode == "F":
        raise UserError(f"{path}: has floating-point pixels of unknown range; convert it to an 8-bit image")


def _raw_mode(image: Image.Image) -> str:
    """Return how pixels are packed in the file, e.g. "L;4" for gray of 4 bits."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0]) if isinstance(arguments, tuple) else str(arguments)


def _tail(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 64))
        return file.read()
