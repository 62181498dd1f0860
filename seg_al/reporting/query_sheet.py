"""A query for people to look at: a contact sheet as a picture, and as a page that shows predictions when pointed at."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from seg_al.reporting.gallery import contact_sheet, legend

SIDE = 320
"""Longest side of a picture of the page, in pixels."""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
.query {{ font: 16px/1.4 system-ui, sans-serif; margin: 1rem; }}
.query .images {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); gap: 1rem; }}
.query label {{ display: block; min-width: 0; }}
.query input {{ position: absolute; opacity: 0; }}
.query .pair {{ display: grid; }}
.query .pair img {{ grid-area: 1 / 1; width: 100%; display: block; }}
.query .laid {{ opacity: 0; }}
@media (hover: hover) {{ .query label:hover .laid {{ opacity: 1; }} }}
.query input:checked + .pair .laid, .query input:focus-visible + .pair .laid {{ opacity: 1; }}
.query input:focus-visible + .pair {{ outline: 3px solid #1f77b4; }}
.query .about {{ white-space: pre-line; overflow-wrap: anywhere; font-size: .85rem; }}
.query .legend {{ max-width: 100%; }}
</style>
</head>
<body>
<div class="query">
<h1>{title}</h1>
{hint}
<div class="images">
{images}
</div>
</div>
</body>
</html>
"""


def write_sheet(
    folder: Path,
    title: str,
    shown: Sequence[tuple[np.ndarray, np.ndarray | None, str]],
    class_names: Sequence[str],
    palette: np.ndarray,
) -> None:
    """Write ``contact.png`` and ``query.html`` into a folder.

    Args:
        shown: image, the same with the model's prediction laid over (or None), and text; best first. Images are
            (H, W, 3) uint8 of any sizes.
        class_names, palette: for the legend of the predictions' colours.
    """
    predicted = any(laid is not None for _, laid, _ in shown)
    tiles = [image if laid is None else _halves(image, laid) for image, laid, _ in shown]
    sheet = contact_sheet(tiles, [text for *_, text in shown], title=title, tile=(180, 480 if predicted else 240))
    Image.fromarray(sheet).save(folder / "contact.png")
    hint = ""
    if predicted:
        key = _embedded(legend(class_names, palette), 2000, ".png")
        hint = "<p>Point at an image, or tap it, to see what the model predicts.</p>"
        hint += f'<img class="legend" alt="classes and their colours" src="{key}">'
    cards = []
    for image, laid, text in shown:
        name = escape(text.partition("\n")[0])
        over = "" if laid is None else f'<img class="laid" alt="prediction" src="{_embedded(laid)}">'
        cards.append(
            f'<label><input type="checkbox" aria-label="prediction of {name}"><span class="pair">'
            f'<img alt="{name}" src="{_embedded(image)}">{over}</span><span class="about">{escape(text)}</span></label>'
        )
    page = _PAGE.format(title=escape(title), hint=hint, images="\n".join(cards))
    (folder / "query.html").write_text(page, encoding="utf-8")


def _halves(image: np.ndarray, laid: np.ndarray) -> np.ndarray:
    """Return an image and its prediction side by side."""
    return np.hstack([image, np.full((len(image), max(2, image.shape[1] // 60), 3), 255, np.uint8), laid])


def _embedded(image: np.ndarray, side: int = SIDE, suffix: str = ".jpg") -> str:
    scale = min(1.0, side / max(image.shape[:2]))
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    data = cv2.imencode(suffix, cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
    return f"data:image/{'png' if suffix == '.png' else 'jpeg'};base64,{base64.b64encode(data).decode()}"
