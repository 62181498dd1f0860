"""How strategies are drawn: one colour, marker and line each, the same in every figure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Literal

Line = Literal["-", "--", "-.", ":"]
Style = tuple[str, str, Line]
"""Colour, marker, line."""

STYLES: dict[str, Style] = {
    # colour, marker, line; grey for Random alone, no two alike when printed without colour
    "random": ("#7f7f7f", "o", "--"),
    "vaal": ("#d62728", "D", "-"),
    "coreset": ("#1f77b4", "s", "-"),
    "mcdropout": ("#2ca02c", "^", "-."),
    "qbc": ("#9467bd", "v", ":"),
    "suggestiveannotation": ("#ff7f0e", "P", "-."),
    "ensemble": ("#8c564b", "<", "--"),
    "dbal": ("#17becf", ">", ":"),
    "entropy": ("#bcbd22", "X", "-"),
    "leastconfidence": ("#e377c2", "h", "--"),
    "margin": ("#5fa2dd", "p", "-."),
    "bald": ("#5fbf50", "d", "-"),
    "powerbald": ("#006d2c", "*", "--"),
    "badge": ("#393b79", "H", ":"),
    "typiclust": ("#c49c94", "8", "-"),
    "probcover": ("#ff8fa3", "s", "--"),
    "cdal": ("#637939", "^", ":"),
}
"""How a strategy is drawn, by its name in lower case without separators; the same in every figure."""

_LINES: tuple[Line, ...] = (":", "-.", "--")
_COLORS = ("#843c39", "#3b4cc0", "#b8860b", "#111111", "#c71585", "#008b8b")
_MARKERS = ("o", "D", "v", "P", "X", "s")
_SPARE: list[Style] = [
    (color, _MARKERS[(place + turn) % len(_MARKERS)], line)
    for turn in range(len(_MARKERS))
    for line in _LINES
    for place, color in enumerate(_COLORS)
]


def styles_of(labels: Sequence[str]) -> dict[str, Style]:
    """Return colour, marker and line of each label, by the strategy's name in it.

    Where several labels name one strategy, the later ones get spare styles, as do names that are not in `STYLES`.
    """
    styles: dict[str, Style] = {}
    for label in labels:
        plain = re.sub(r"[^a-z0-9]", "", label.lower())
        known = max((name for name in STYLES if name in plain), key=len, default=None)
        if known and STYLES[known] not in styles.values():
            styles[label] = STYLES[known]
    for label in labels:
        if label not in styles:
            start = zlib.crc32(label.encode()) % len(_SPARE)  # not hash(): that differs between processes
            taken = list(styles.values())
            colors, shapes = {style[0] for style in taken}, {style[1:] for style in taken}
            clashes = [(taken.count(style), (style[0] in colors) + (style[1:] in shapes)) for style in _SPARE]
            order = [*range(start, len(_SPARE)), *range(start)]
            styles[label] = _SPARE[min(order, key=clashes.__getitem__)]
    return styles


def literal(text: str) -> str:
    """Keep matplotlib from reading a run's name as math ($) or as hidden (a leading _)."""
    return re.sub(r"^_", "\u200a_", text.replace("$", r"\$"))
