"""One HTML page of a report: text, figures, tables, and a gallery of what was queried; needs nothing but a browser."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite, isnan
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from seg_al.reporting.files import write_atomically
from seg_al.reporting.runs import Query, Round, Run, Runs

THUMBNAILS = 12
"""Pictures of a query that the gallery shows; fewer where not even one seed's would fit."""

LIMIT = 15_000_000
"""Bytes that the gallery may fill a page up to: what a phone opens and a mail takes."""

ON_SCREEN = 2.0
"""Pixels of the page a point of a figure: those made for a column of paper are small on a screen."""

_TYPES = {".svg": "svg+xml", ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
_NUMBER = re.compile(r"\W*[\d∞][\d\We]*[a-zA-Z]{0,6}|undefined|n/a")
"""A table's text that is to stand right, and to be sorted, like a number: 62.1 ± 0.4, ≥ 300, 12 %, 3.5 h."""

_ASIDE = re.compile(r"\*| \(n=\d+\)| \[[^]]*\]")
"""What may stand behind such a number: 62.1 ± 0.4* (n=2), 8 % [2 %, open]."""

_MISSING = "–"


@dataclass(frozen=True)
class Section:
    """A part of a report, below a heading of its own."""

    title: str
    text: str
    """Plain text; empty lines part paragraphs, and lines that all begin with ``- `` are a list."""

    figures: Sequence[Path] = ()
    """SVG (best), PNG or JPEG files; they become a part of the page."""

    tables: Sequence[tuple[str, pd.DataFrame]] = ()
    """Captions and tables. An index other than 0, 1, ... becomes columns; floats get the digits that their column
    needs."""


def write_page(
    path: Path | str,
    title: str,
    sections: Sequence[Section],
    runs: Runs,
    limit: int = LIMIT,
    thumbnails: int = THUMBNAILS,
) -> Path:
    """Write a report as one file that opens anywhere, from disk, and fetches nothing; return its path.

    The last part is a gallery: for a seed and a round what every strategy asked for, or the other way round. It shows
    the first pictures of each query, of as many seeds as the limit allows, and tells what it leaves out.

    Args:
        path: of the page; its folder is made.
        title: of the page.
        sections: in order.
        runs: whose queries the gallery shows.
        limit: bytes that the gallery may fill the page up to; sections are never cut.
        thumbnails: pictures of a query, at most.

    Raises:
        FileNotFoundError: a figure is missing.
        ValueError: a figure that is not SVG, PNG or JPEG.
    """
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    titles = [*(section.title for section in sections), "What was queried"]
    links = (f'<li><a href="#s{number}">{escape(text)}</a></li>' for number, text in enumerate(titles, 1))
    parts = {
        "title": escape(title),
        "contents": "\n".join(links),
        "sections": "\n".join(_section(f"s{number}", section) for number, section in enumerate(sections, 1)),
    }
    frame = f'<section id="s{len(titles)}"><h2>{titles[-1]}</h2>\n{{}}\n</section>'
    used = _size(template.substitute(parts, gallery=frame.format("")))
    page = template.substitute(parts, gallery=frame.format(_gallery(runs, limit - used, thumbnails)))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_atomically(path, _encode(page))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # names of files may hold what is no text


def _size(text: str) -> int:
    return len(_encode(text))


def _section(anchor: str, section: Section) -> str:
    parts = [f'<section id="{anchor}"><h2>{escape(section.title)}</h2>', _text(section.text)]
    if section.figures:
        parts += ['<div class="figures">', *(_figure(Path(file), section.title) for file in section.figures), "</div>"]
    parts += [_table(caption, frame) for caption, frame in section.tables]
    return "\n".join([*filter(None, parts), "</section>"])


def _text(text: str) -> str:
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()) if text.strip() else ():
        lines = [line.strip() for line in block.strip().splitlines()]
        if all(line.startswith("- ") for line in lines):
            blocks.append("<ul>" + "".join(f"<li>{escape(line[2:])}</li>" for line in lines) + "</ul>")
        else:
            blocks.append(f"<p>{escape(chr(10).join(lines))}</p>")
    return "\n".join(blocks)


def _figure(file: Path, title: str) -> str:
    if file.suffix.lower() not in _TYPES:
        raise ValueError(f"{file}: a figure must be one of {', '.join(_TYPES)}")
    # an <img>, not <svg> in the page: ids in one figure cannot meet those of another, and its scripts do not run
    content = file.read_bytes()
    data = base64.b64encode(content).decode()
    name = re.sub(r"[_\-\s]+", " ", file.stem)
    points = re.search(rb'<svg[^>]* width="([\d.]+)pt"', content[:2000])
    width = f' width="{round(ON_SCREEN * float(points[1]))}"' if points else ""
    kind = _TYPES[file.suffix.lower()]
    return (
        f'<figure><img{width} src="data:image/{kind};base64,{data}" alt="{escape(f"{title}: {name}")}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
    )


def _table(caption: str, frame: pd.DataFrame) -> str:
    named = not isinstance(frame.index, pd.RangeIndex)
    columns = [frame.iloc[:, k] for k in range(frame.shape[1])]
    heads = [_words(name) for name in frame.columns]
    if named:
        levels = range(frame.index.nlevels)
        columns = [frame.index.get_level_values(level) for level in levels] + columns
        heads = ["" if name is None else str(name) for name in frame.index.names] + heads
    texts, styles = [], []
    for column in columns:
        cells = _cells(column.tolist())
        shown = [text for text in cells if text not in ("", _MISSING)]
        styles.append(
            ' class="number"' if shown and all(_NUMBER.fullmatch(_ASIDE.sub("", text)) for text in shown) else ""
        )
        texts.append(cells)
    lines = [
        f'<p class="caption">{escape(caption)}</p>',  # no <caption>: it would scroll away with a wide table
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0">',
        f'<table aria-label="{escape(caption)}">',
        "<thead><tr>",
        *(f'<th scope="col"{style}>{escape(text)}</th>' for text, style in zip(heads, styles, strict=True)),
        "</tr></thead><tbody>",
    ]
    for row in zip(*texts, strict=True):
        head, *rest = (f"{style}>{escape(text)}</" for text, style in zip(row, styles, strict=True))
        lines.append(f'<tr><th scope="row"{head}th>' + "".join(f"<td{cell}td>" for cell in rest) + "</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def _words(name: Any) -> str:
    return " ".join(str(part) for part in name if str(part)) if isinstance(name, tuple) else str(name)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and isnan(value))


def _cells(values: Sequence[Any]) -> list[str]:
    """Return a column's texts; four digits of its greatest float, and as many decimals of all the others."""
    floats = [float(v) for v in values if isinstance(v, (float, np.floating)) and isfinite(v)]
    top = max(map(abs, floats), default=0.0)
    decimals = 0 if all(v.is_integer() for v in floats) else 4 if top < 1 else max(0, 4 - len(str(int(top))))

    def text(value: Any) -> str:
        if _missing(value):
            return _MISSING
        if isinstance(value, (bool, np.bool_)):
            return "yes" if value else "no"
        if not isinstance(value, (float, np.floating)):
            return str(value)
        if not isfinite(value):
            return "∞" if value > 0 else "−∞"
        tiny = value != 0 and abs(value) < 0.5 * 10**-decimals
        return (f"{value:.1e}" if tiny else f"{value:.{decimals}f}").replace("-", "−", 1 if value < 0 else 0)

    return [text(value) for value in values]


def _gallery(runs: Runs, room: int, thumbnails: int) -> str:
    """Return the gallery in at most `room` bytes: all thumbnails of as many seeds as fit, else fewer of the first."""
    seeds = [seed for seed in runs.seeds if any(_with_pictures(runs, [seed]))]
    if not seeds:
        return "<p>These runs kept no pictures of what was queried.</p>"
    for shown in sorted({min(number, thumbnails) for number in (thumbnails, 6, 3, 1)}, reverse=True):
        best = ""
        for count in range(1, len(seeds) + 1):
            markup = _gallery_of(runs, seeds[:count], seeds[count:], shown)
            if _size(markup) > room:
                break
            best = markup
        if best:
            return best
    return f"<p>The pictures of what was queried would make this page too large. {_WHERE}</p>"


_WHERE = "All that were kept are in the run directories, in <code>rounds/*/query</code>."


def _with_pictures(runs: Runs, seeds: Sequence[int]) -> Iterator[tuple[Run, Round, Query]]:
    for run in runs.runs:
        for r in run.rounds if run.seed in seeds else ():
            if r.query and (r.query.folder / "001.jpg").exists():
                yield run, r, r.query


def _gallery_of(runs: Runs, seeds: Sequence[int], left_out: Sequence[int], shown: int) -> str:
    pictures: dict[str, int] = {}  # strategies often ask for the same image: it is stored once
    queries = []
    for run, r, query in _with_pictures(runs, seeds):
        tiles = _tiles(query, shown, pictures)
        about = [f"trained on {len(r.labeled)} images: {runs.metric} {_percent(r.score)}"]
        about += [f"asked for {len(query.ids)} more"]
        about += [] if isnan(query.redundancy) else [f"redundancy {_short(query.redundancy)}"]
        strategy = runs.strategies.index(run.strategy)
        place = {"strategy": strategy, "seed": run.seed, "round": r.number}
        queries.append({**place, "facts": "; ".join(about), "tiles": tiles})
    data = json.dumps({"pictures": list(pictures), "queries": queries}, separators=(",", ":"), allow_nan=False)
    data = data.replace("<", "\\u003c")  # or a name could end the script
    axes = {
        "strategy": [(str(place), name) for place, name in enumerate(runs.strategies)],
        "seed": [(str(seed), f"seed {seed}") for seed in seeds],
        "round": [(str(n), f"round {n}") for n in sorted({r.number for _, r, _ in _with_pictures(runs, seeds)})],
    }
    plural = {"strategy": "strategies", "seed": "seeds", "round": "rounds"}
    compared = [(axis, plural[axis]) for axis in axes if len(axes[axis]) > 1] or [("strategy", "strategies")]
    selects = [_select("rows", "Compare", compared), *(_select(axis, axis.capitalize(), axes[axis]) for axis in axes)]
    kept = f"Pictures are the first {shown} of each query, best first."
    if left_out:
        names = ", ".join(map(str, left_out))
        kept += f" Seed{'s' if len(left_out) > 1 else ''} {names} left out, to keep this page small."
    return "\n".join(
        [
            '<div id="gallery">',
            f"<p>{kept} {_WHERE}</p>",
            '<p class="hint">Point at a picture, or tap it, to see its label.</p>',
            "<noscript><p>The pictures need JavaScript; nothing else on this page does.</p></noscript>",
            '<form hidden autocomplete="off">',
            *selects,
            '<label class="check"><input type="checkbox" name="labels">show all labels</label></form>',
            '<p role="status"></p>',
            '<div id="rows"></div>',
            f'<script type="application/json" id="queries">{data}</script>',
            "</div>",
        ]
    )


def _tiles(query: Query, shown: int, pictures: dict[str, int]) -> list[dict[str, Any]]:
    """Return what the gallery shows of a query, best first; what is not yet in `pictures` is added."""

    def number(file: Path) -> int | None:
        if not file.exists():
            return None
        return pictures.setdefault(base64.b64encode(file.read_bytes()).decode(), len(pictures))

    scores = ["" if isnan(score) else _short(score) for score in query.scores] or [""] * len(query.ids)
    tiles = []
    for rank, name in enumerate(query.ids[:shown], 1):
        image = number(query.folder / f"{rank:03d}.jpg")
        if image is not None:
            label = number(query.folder / f"{rank:03d}_label.jpg")
            tiles.append({"rank": rank, "id": name, "score": scores[rank - 1], "image": image, "label": label})
    return tiles


def _percent(score: float) -> str:
    return _MISSING if isnan(score) else f"{100 * score:.1f} %"


def _short(value: float) -> str:
    if isnan(value):
        return _MISSING
    text = f"{value:#.3g}".rstrip(".") if abs(value) < 1000 else f"{value:.0f}"
    return text.replace("-", "−", 1) if value < 0 else text


def _select(name: str, label: str, options: Sequence[tuple[str, str]]) -> str:
    inner = "".join(f'<option value="{value}">{escape(text)}</option>' for value, text in options)
    return f'<label>{label}<select name="{name}">{inner}</select></label>'
