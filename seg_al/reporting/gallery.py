"""Pictures for people: label maps in colour, and sheets of images with captions.

All images are (H, W, 3) uint8 RGB, all targets (H, W) integer train ids with 255 = ignore.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

IGNORE = 255
PAPER, INK, BACKING = (255, 255, 255), (34, 34, 34), (232, 232, 232)
GAP = 12
TEXT, TITLE = 13, 18


def colorize(target: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return a label map in its classes' colours; ignored pixels are hatched dark grey and black.

    Args:
        target: (H, W) train ids, 255 = ignore.
        palette: (C, 3) uint8 RGB.

    Raises:
        ValueError: `target` holds an id that is neither in the palette nor 255.
    """
    target, palette = np.asarray(target), np.asarray(palette, dtype=np.uint8)
    ignored = target == IGNORE
    classes = np.where(ignored, 0, target)
    if classes.size and not 0 <= classes.min() <= classes.max() < len(palette):
        wrong = np.setdiff1d(classes, np.arange(len(palette)))
        raise ValueError(f"target holds {wrong[:10].tolist()}; the palette has colours for 0..{len(palette) - 1}")
    diagonal = np.arange(target.shape[0])[:, None] + np.arange(target.shape[1])
    stripes = np.where(diagonal // 4 % 2, 64, 16).astype(np.uint8)
    return np.where(ignored[..., None], stripes[..., None], palette[classes])


def overlay(image: np.ndarray, target: np.ndarray, palette: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Return the image with its label map laid over it, `alpha` in [0, 1] of the result being label colour.

    An image of another size than its target is resized to it (labels never are).
    """
    colors = colorize(target, palette)
    return cv2.addWeighted(colors, alpha, _resize(image, *colors.shape[:2]), 1 - alpha, 0)


def side_by_side(image: np.ndarray, target: np.ndarray, prediction: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return one row: image | ground truth | prediction, (H, 3 W + 2 gaps, 3), at the target's size.

    Pixels ignored in the ground truth are hatched in both maps: they count for nothing in the score.

    Raises:
        ValueError: target and prediction differ in shape, or hold ids outside the palette.
    """
    if np.shape(target) != np.shape(prediction):
        raise ValueError(f"target {np.shape(target)} and prediction {np.shape(prediction)} differ in shape")
    truth = colorize(target, palette)
    guess = colorize(np.where(np.asarray(target) == IGNORE, IGNORE, prediction), palette)
    gap = np.full((len(truth), max(2, truth.shape[1] // 100), 3), PAPER, np.uint8)
    return np.hstack([_resize(image, *truth.shape[:2]), gap, truth, gap, guess])


def framed(image: np.ndarray, *colors: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 in frames of these colours, the first one innermost."""
    width = max(2, min(image.shape[:2]) // 24)
    for color in colors:
        around = np.empty((image.shape[0] + 2 * width, image.shape[1] + 2 * width, 3), np.uint8)
        around[:] = np.asarray(color, np.uint8)
        around[width:-width, width:-width] = image
        image = around
    return image


def contact_sheet(
    tiles: Iterable[np.ndarray],
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    tile: tuple[int, int] = (180, 240),
    title: str | None = None,
) -> np.ndarray:
    """Lay pictures out in rows, (H, W, 3) uint8.

    Args:
        tiles: pictures of any sizes; letterboxed, aspect kept. May be a generator: each is resized when
            it comes, so a sheet of large images needs little memory.
        captions: one text a picture, of one or several lines; what is too long loses its middle, as the
            ends of an id tell it from its neighbours.
        columns: pictures a row; default: about a 4:3 sheet.
        tile: height and width of a picture's place.
        title: line above all.

    Raises:
        ValueError: no tiles, a tile that is not (H, W, 3) uint8, or not one caption a tile.
    """
    height, width = tile
    boxed = [_letterbox(picture, height, width) for picture in tiles]
    if not boxed:
        raise ValueError("a contact sheet needs at least one tile")
    if captions is not None and len(captions) != len(boxed):
        raise ValueError(f"{len(captions)} captions for {len(boxed)} tiles")
    texts = [caption.splitlines() for caption in captions] if captions is not None else [[] for _ in boxed]
    lines = max(map(len, texts))
    line = TEXT + 4
    place = height + (4 + lines * line if lines else 0)
    columns = min(len(boxed), columns or math.ceil(math.sqrt(len(boxed) * place / width * 4 / 3)))
    rows = math.ceil(len(boxed) / columns)
    head = TITLE + 8 + GAP if title else 0

    sheet_size = (columns * (width + GAP) + GAP, head + rows * (place + GAP) + GAP)
    sheet = Image.new("RGB", sheet_size, PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        _write(draw, (GAP, GAP), title, sheet_size[0] - 2 * GAP, TITLE)
    for index, (picture, text) in enumerate(zip(boxed, texts, strict=True)):
        x = GAP + index % columns * (width + GAP)
        y = head + GAP + index // columns * (place + GAP)
        sheet.paste(Image.fromarray(picture), (x, y))
        for number, part in enumerate(text):
            _write(draw, (x, y + height + 4 + number * line), part, width, TEXT)
    return np.asarray(sheet)


def legend(names: Sequence[str], palette: np.ndarray, width: int = 960) -> np.ndarray:
    """Return the classes' colours with their names, and the hatching of ignored pixels, (H, width, 3).

    Args:
        names: class names, one a colour.
        palette: (C, 3) uint8 RGB.
        width: of the picture; as many columns as fit.

    Raises:
        ValueError: not one name a colour.
    """
    if len(names) != len(palette):
        raise ValueError(f"{len(names)} class names for {len(palette)} colours")
    names, ids = [*names, "ignored"], [*range(len(palette)), IGNORE]
    swatch, line = (16, 26), 24
    needed = max(_font(TEXT).getlength(_normal(name)) for name in names)
    cell = math.ceil(min(needed + swatch[1] + 8 + 2 * GAP, width - GAP))
    columns = max(1, (width - GAP) // cell)
    rows = math.ceil(len(names) / columns)
    columns = math.ceil(len(names) / rows)  # no nearly empty last column
    picture = Image.new("RGB", (width, rows * line + 2 * GAP - (line - swatch[0])), PAPER)
    draw = ImageDraw.Draw(picture)
    for index, (name, class_id) in enumerate(zip(names, ids, strict=True)):
        x, y = GAP + index // rows * cell, GAP + index % rows * line
        picture.paste(Image.fromarray(colorize(np.full(swatch, class_id), palette)), (x, y))
        draw.rectangle((x, y, x + swatch[1] - 1, y + swatch[0] - 1), outline=INK)
        _write(draw, (x + swatch[1] + 8, y), name, cell - swatch[1] - 8 - GAP, TEXT)
    return np.asarray(picture)


def reconstructions(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    low: float = -1.0,
    tile: tuple[int, int] = (120, 160),
    title: str | None = None,
) -> np.ndarray:
    """Return a sheet of two rows, what a VAE was given above what it made of it.

    Args:
        originals: (B, 3, H, W) floats in [`low`, 1]; values outside are clipped, NaN becomes `low`.
        reconstructions: the same number of images in the same range; may differ in size.
        low: value of black, -1 (the VAE's scale) or 0.
        tile: height and width of a picture's place.
        title: line above all.

    Raises:
        ValueError: not as many reconstructions as originals, or not (B, 3, H, W).
    """
    if len(originals) != len(reconstructions) or np.ndim(originals) != 4 or np.ndim(reconstructions) != 4:
        shapes = f"{np.shape(originals)} and {np.shape(reconstructions)}"
        raise ValueError(f"originals and reconstructions must both be (B, 3, H, W), not {shapes}")
    pictures = [_to_uint8(image, low) for image in (*originals, *reconstructions)]
    captions = ["original"] * len(originals) + ["reconstruction"] * len(originals)
    return contact_sheet(pictures, captions, columns=len(originals), tile=tile, title=title)


def _to_uint8(image: np.ndarray, low: float) -> np.ndarray:
    unit = (np.nan_to_num(np.asarray(image, dtype=np.float32), nan=low) - low) / (1 - low)
    return np.ascontiguousarray((unit.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    # area averages when shrinking; nearest when enlarging, so that a 32 px image shows its own pixels
    shrinks = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)


def _letterbox(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a tile must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    scale = min(height / image.shape[0], width / image.shape[1])
    inner = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    box = np.full((height, width, 3), BACKING, np.uint8)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    box[top : top + inner[0], left : left + inner[1]] = _resize(image, *inner)
    return box


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib's own copy: every machine has it, with Latin, Greek and Cyrillic letters
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _normal(text: str) -> str:
    # macOS hands out file names with accents apart from their letters, which would be drawn apart
    return unicodedata.normalize("NFC", text)


def _write(draw: ImageDraw.ImageDraw, position: tuple[int, int], text: str, width: int, size: int) -> None:
    draw.text(position, _shorten(_normal(text), width, size), fill=INK, font=_font(size))


def _shorten(text: str, width: int, size: int) -> str:
    """Cut as little as needed out of the text's middle."""
    kept = len(text)
    short = text
    while kept and _font(size).getlength(short) > width:
        kept -= 1
        short = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
    return short
