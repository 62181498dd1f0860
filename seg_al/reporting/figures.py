"""Figures of a report, for a page and for print: readable in grey, a strategy the same in each (see `styles`)."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seg_al.reporting.files import write_atomically
from seg_al.reporting.styles import literal, styles_of

WIDTH = 3.5
"""Inches of one column of a paper: figures of one panel are drawn at the size they are printed."""

WIDE = 7.2
"""Inches of a page's width."""

_STEPS = [1, 2, 5, 10]  # of ticks

_TITLE = 26  # letters that a small panel is wide

PANELS = 40
"""Classes drawn at most."""

_LOOK = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.2,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "seg_al",  # ids in a file follow from its content: the same report, the same bytes
}

PHASE_LOOKS = {
    # from dark to light, and hatched where greys would be near each other
    "train": ("#2b3a55", ""),
    "acquisition": ("#c8553d", "////"),
    "score": ("#e9b44c", ""),
    "select": ("#7fb285", "...."),
    "evaluate": ("#dfe3e8", ""),
}


@contextmanager
def _look() -> Iterator[None]:
    with matplotlib.rc_context(_LOOK):  # type: ignore[arg-type]
        yield


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write ``<name>.svg`` and ``<name>.png`` (300 dpi), the same bytes each time; return the SVG's path."""
    with _look():
        for kind, extra in (
            ("png", {"dpi": 300, "metadata": {"Software": None}}),
            ("svg", {"metadata": {"Date": None}}),
        ):
            data = io.BytesIO()
            figure.savefig(data, format=kind, **extra)
            path = write_atomically(folder / f"{name}.{kind}", data.getvalue())
    return path


def plot_bands(
    table: pd.DataFrame,
    strategies: Sequence[str],
    seeds: Mapping[str, int],
    ylabel: str,
    x: str = "labeled",
    xlabel: str = "labeled images",
    scale: float = 100,
    level: tuple[float, str] | None = None,
    band: bool = True,
) -> Figure:
    """Draw a line and a 95 % band for each strategy; points of fewer than all its seeds are hollow.

    Args:
        table: strategy, `x`, mean, low, high, n.
        strategies: all of the report's, so that each has its style whether or not it is drawn here.
        seeds: seeds of each strategy.
        scale: factor of the values.
        level: a value and what it is called, drawn as a level line.
        band: whether to draw bands.
    """
    with _look():
        figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        shown = [name for name in strategies if name in set(table["strategy"])]
        hollow = _draw(axes, table, strategies, seeds, x, scale, band)
        handles = _handles(strategies, shown)
        if level is not None and math.isfinite(level[0]):
            value, name = level
            line = axes.axhline(scale * value, color="#222222", linewidth=1, linestyle=(0, (6, 3)), zorder=1)
            handles.append((line, name))
        if hollow:
            handles.append((_hollow(), "not all seeds"))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(literal(ylabel))
        _axis(axes, table[x], x)
        _limits(axes, table, scale, level and level[0])
        if scale == 100:  # shares: no band goes where there is none
            bottom, top = axes.get_ylim()
            axes.set_ylim(max(bottom, -2), min(top, 102))
        _legend_below(figure, handles)
    return figure


def _draw(
    axes: Axes,
    table: pd.DataFrame,
    strategies: Sequence[str],
    seeds: Mapping[str, int],
    x: str,
    scale: float,
    band: bool,
) -> bool:
    """Draw a line for each strategy; return whether a point rests on fewer than all seeds."""
    hollow = False
    styles = styles_of(list(strategies))
    for order, name in enumerate(strategies):
        part = table[(table["strategy"] == name) & table["mean"].notna()]
        if part.empty:
            continue
        color, marker, line = styles[name]
        at, mean = part[x].to_numpy(float), scale * part["mean"].to_numpy(float)
        axes.plot(at, mean, color=color, linestyle=line, zorder=3 + order / 100)
        for whole in (True, False):
            some = (part["n"] >= seeds.get(name, 0)).to_numpy() == whole
            face, edge = (color, "white") if whole else ("white", color)
            axes.plot(at[some], mean[some], marker, color=face, markeredgecolor=edge, markeredgewidth=0.6, zorder=4)
            hollow |= not whole and bool(some.any())
        if band:
            low, high = (scale * part[end].to_numpy(float) for end in ("low", "high"))
            axes.fill_between(
                at,
                low,
                high,
                color=color,
                alpha=0.14 if table["strategy"].nunique() <= 5 else 0.07,
                linewidth=0,
                zorder=2,
            )
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    return hollow


def _handles(strategies: Sequence[str], shown: Sequence[str]) -> list[tuple[Line2D, str]]:
    styles = styles_of(list(strategies))
    look = {name: styles[name] for name in shown}
    return [
        (Line2D([], [], color=color, marker=marker, linestyle=line, markeredgecolor="white", markeredgewidth=0.6), name)
        for name, (color, marker, line) in look.items()
    ]


def _limits(axes: Axes, table: pd.DataFrame, scale: float, level: float | None = None) -> None:
    """Fit the y axis to the means; bands may take up to twice their range beyond, for few seeds have boundless ones."""
    means = scale * table["mean"].dropna().to_numpy(float)
    if level is not None and math.isfinite(level):
        means = np.append(means, scale * level)
    if not means.size:
        return
    ends = scale * table[["low", "high"]].to_numpy(float)
    ends = np.append(ends[np.isfinite(ends)], means)
    room = 2 * max(float(np.ptp(means)), 0.05 * float(np.abs(means).max()))
    low, high = max(ends.min(), means.min() - room), min(ends.max(), means.max() + room)
    if low >= high:
        return
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _hollow() -> Line2D:
    return Line2D([], [], linestyle="", marker="o", color="white", markeredgecolor="#444444", markeredgewidth=0.6)


def _legend_below(figure: Figure, handles: Sequence[tuple[Line2D, str]]) -> None:
    """Put the legend under the axes, in as many columns as fit, and make the figure that much higher."""
    if not handles:
        return
    width, height = figure.get_size_inches()
    columns = min(6, len(handles))
    while columns > 1 and _legend_width([name for _, name in handles], columns) > width:
        columns -= 1
    rows = math.ceil(len(handles) / columns)
    figure.set_size_inches(width, height + 0.1 + 0.155 * rows)
    figure.legend(
        [line for line, _ in handles],
        [literal(name) for _, name in handles],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=2.4,
        columnspacing=1.1,
        borderpad=0.1,
        labelspacing=0.3,
    )


def _legend_width(names: Sequence[str], columns: int) -> float:
    """Return about how many inches a legend takes whose columns are filled one after the other."""
    parts = np.array_split(np.array([len(name) for name in names]), columns)  # as matplotlib does
    return sum(0.5 + 0.058 * part.max() for part in parts)


def _room(labels: Iterable[str]) -> float:
    """Return about how many inches these labels take left of the axes."""
    return 0.058 * max(map(len, labels), default=0)


def _width(labels: Iterable[str]) -> float:
    """Return the inches of a figure with these labels left of its axes: one column, or more where they are long."""
    return max(WIDTH, 2.2 + _room(labels))


def _below(xlabel: str, labels: Sequence[str]) -> str:
    """Return the label of the x axis in lines as long as the axes right of these labels are wide."""
    return textwrap.fill(literal(xlabel), int(17 * (_width(labels) - 0.2 - _room(labels))))


def _wrapped(title: str) -> str:
    """Return a title in lines that fit a small panel, broken behind a / where there is one."""
    if len(title) <= _TITLE:
        return title
    return "\n".join(part for line in title.replace("/", "/\n").split("\n") for part in textwrap.wrap(line, _TITLE))


def _axis(axes: Axes, values: pd.Series, x: str) -> None:
    """Mark the numbers of labeled images that were measured, where they have room."""
    counts = np.sort(values.dropna().unique())
    if x != "labeled" or not counts.size:
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=_STEPS))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.4g}".replace(",", "\u2009"))
        return
    gap = np.diff(counts).min() / max(np.ptp(counts), 1) if counts.size > 1 else 1
    if counts.size <= 9 and gap > 0.02 * len(f"{counts[-1]:.0f}") + 0.01:
        axes.xaxis.set_major_locator(matplotlib.ticker.FixedLocator(counts.tolist()))
    else:
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=_STEPS, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", "\u2009"))
    if counts.size == 1:
        axes.set_xlim(counts[0] * 0.5, counts[0] * 1.5)


def plot_panels(
    table: pd.DataFrame, by: str, panels: Sequence[str], strategies: Sequence[str], seeds: Mapping[str, int],
    titles: Mapping[str, str] | None = None, ylabel: str = "", scale: float = 1, band: bool = False,
    sharey: bool = False, level: float | None = None,
) -> Figure:  # fmt: skip
    """Draw a small panel of curves for each of `panels`, the values of column `by`, with a line at `level`."""
    with _look():
        columns = min(4, len(panels))
        rows = math.ceil(len(panels) / columns)
        heads = {panel: _wrapped(literal((titles or {}).get(panel, panel))) for panel in panels}
        height = 1.35 + 0.12 * max(head.count("\n") for head in heads.values())
        figure = Figure(figsize=(max(WIDTH, WIDE * columns / 4), height * rows + 0.25), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False)
        hollow = False
        for axes, panel in zip(grid.flat, panels, strict=False):
            part = table[table[by] == panel]
            hollow |= _draw(axes, part, strategies, seeds, "labeled", scale, band)
            if band:
                _limits(axes, table if sharey else part, scale, level)
            axes.set_title(heads[panel], loc="left", pad=3)
            axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, steps=_STEPS))
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, steps=_STEPS, integer=True))
            if level is not None:
                axes.axhline(scale * level, color="#222222", linewidth=0.8, zorder=1)
        for column in range(columns):
            last = grid[max(row for row in range(rows) if row * columns + column < len(panels)), column]
            last.tick_params(labelbottom=True)
            if last in grid[-1]:
                last.set_xlabel("labeled images")
        for axes in grid[:, 0]:
            axes.set_ylabel(ylabel)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        shown = [name for name in strategies if name in set(table["strategy"])]
        handles = _handles(strategies, shown) if by != "strategy" else []
        _legend_below(figure, [*handles, *([(_hollow(), "not all seeds")] if hollow else [])])
    return figure


def plot_matrix(
    matrix: pd.DataFrame, title: str, xlabel: str = "", ylabel: str = "", totals: bool = False, digits: int = 2
) -> Figure:
    """Draw a matrix of shares in [0, 1] with its numbers; NaN stays blank.

    Args:
        totals: whether to add the means of the columns, without the diagonal, as a row below.
    """
    with _look():
        names = [literal(name) for name in matrix.columns]
        values = matrix.to_numpy(float)
        if totals:
            apart = np.where(np.eye(len(values), dtype=bool), np.nan, values)
            counted = (~np.isnan(apart)).sum(0)
            mean = np.where(counted > 0, np.nansum(apart, 0) / np.maximum(counted, 1), np.nan)
            values = np.vstack([values, mean])
        cell = 0.36 if len(names) <= 14 else 0.27
        margin = 0.3 + 0.062 * max(map(len, names))
        figure = Figure(
            figsize=(max(WIDTH, cell * len(names) + margin + 0.2), cell * len(values) + margin + 0.35),
            layout="constrained",
        )
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        top = max(float(np.nanmax(values)) if not np.isnan(values).all() else 1.0, 0.01)
        axes.imshow(values, cmap="Blues", vmin=0, vmax=1.1 * top)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(values)), [*names, "column mean"] if totals else names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if totals:
            axes.axhline(len(names) - 0.5, color="white", linewidth=3)
        for (row, column), value in np.ndenumerate(values):
            if not math.isnan(value):
                ink = "white" if value > 0.65 * top else "#222222"
                text = f"{value:.{digits}f}".removeprefix("0") if value else "0"
                axes.text(column, row, text, ha="center", va="center", fontsize=7 if cell > 0.3 else 5.5, color=ink)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.set_title(literal(title), loc="left")
    return figure


def plot_intervals(table: pd.DataFrame, strategies: Sequence[str], xlabel: str, scale: float = 100) -> Figure:
    """Draw a mean with its interval for each row (strategy, mean, low, high), a line at zero behind."""
    with _look():
        figure = Figure(figsize=(_width(table["strategy"]), 0.55 + 0.19 * len(table)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        styles = styles_of(list(strategies))
        for row, (name, mean, low, high) in enumerate(
            zip(table["strategy"], table["mean"], table["low"], table["high"], strict=True)
        ):
            color, marker, _ = styles[name]
            axes.plot([scale * low, scale * high], [row, row], color=color, linewidth=1.6)
            axes.plot(
                scale * mean, row, marker, color=color, markeredgecolor="white", markeredgewidth=0.6, markersize=5.5
            )
        axes.axvline(0, color="#222222", linewidth=0.8, zorder=1)
        axes.set_yticks(range(len(table)), [literal(name) for name in table["strategy"]])
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.set_xlabel(_below(xlabel, table["strategy"].tolist()))
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure


def plot_ratios(ratios: pd.DataFrame, strategies: Sequence[str], xlabel: str) -> Figure:
    """Draw how many times too often each class was queried, on a log scale: a row a class, a marker a strategy."""
    with _look():
        names = list(ratios.index)
        figure = Figure(figsize=(_width(names), 0.5 + 0.24 * len(names)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        styles = styles_of(list(strategies))
        shown = [name for name in strategies if name in ratios.columns]
        step = 0.6 / max(len(shown), 1)
        values = ratios[shown].to_numpy(float)
        some = values[np.isfinite(values) & (values > 0)]
        low, high = (min(0.5, some.min() / 1.15), max(2.0, some.max() * 1.15)) if some.size else (0.5, 2.0)
        low = max(low, 0.02)
        for k, name in enumerate(shown):
            color, marker, _ = styles[name]
            rows = np.arange(len(names)) + (k - (len(shown) - 1) / 2) * step
            part = ratios[name].to_numpy(float)
            axes.plot(
                np.clip(part, low, None), rows, marker, color=color, markeredgecolor="white", markeredgewidth=0.4,
                markersize=4.4, clip_on=False,
            )  # fmt: skip
        for row in range(len(names) - 1):
            axes.axhline(row + 0.5, color="#eeeeee", linewidth=0.6, zorder=0)
        axes.axvline(1, color="#222222", linewidth=0.8, zorder=1)
        axes.set_xscale("log", base=2)
        axes.set_xlim(low, high)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}")
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.set_yticks(range(len(names)), [literal(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(_below(xlabel, names))
        markers = [
            (Line2D([], [], color=styles[n][0], marker=styles[n][1], linestyle="", markeredgecolor="white"), n)
            for n in shown
        ]
        _legend_below(figure, markers)
    return figure


def plot_times(table: pd.DataFrame) -> Figure:
    """Draw the seconds of a round by phase (strategy and a column a phase) as stacked bars."""
    with _look():
        figure = Figure(figsize=(_width(table["strategy"]), 0.55 + 0.2 * len(table)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        left = np.zeros(len(table))
        bars = []
        for phase, (color, hatch) in PHASE_LOOKS.items():
            width = table[phase].fillna(0).to_numpy(float)
            ink = "white" if sum(to_rgb(color)) < 1.5 else "#333333"
            bars.append(
                axes.barh(
                    range(len(table)),
                    width,
                    left=left,
                    height=0.72,
                    color=color,
                    hatch=hatch,
                    edgecolor=ink,
                    linewidth=0.4,
                )
            )
            left += width
        axes.set_yticks(range(len(table)), [literal(name) for name in table["strategy"]])
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.set_xlabel("seconds a round")
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=_STEPS))
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _legend_below(figure, list(zip(bars, PHASE_LOOKS, strict=True)))  # type: ignore[arg-type]
    return figure
