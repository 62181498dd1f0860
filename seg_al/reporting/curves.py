"""Learning curves: the score of each round against the number of labeled images, as CSV, picture and table."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seg_al.config import UserError
from seg_al.reporting.files import write_atomically
from seg_al.reporting.styles import literal, styles_of

SECONDS = ("train", "acquisition", "score", "select")
_NOT_METRIC = {"round", "labeled", "fraction", *(f"seconds_{part}" for part in SECONDS)}


def collect(run_dir: Path | str) -> list[dict[str, Any]]:
    """Read the finished rounds of a run, one row each, in order.

    Returns:
        Rows with ``round``, ``labeled``, ``fraction``, the main metric under its own name (the first
        entry of ``test`` that is a number: mIoU or accuracy, in [0, 1]), and ``seconds_train``,
        ``seconds_acquisition``, ``seconds_score``, ``seconds_select``. None where nothing was measured.

    Raises:
        UserError: a ``metrics.json`` that cannot be read, or lacks what a curve needs; names the file.
    """
    rows = []
    for path in Path(run_dir).glob("rounds/*/metrics.json"):
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
            test, seconds = metrics["test"], metrics.get("seconds") or {}
            name = next(key for key, value in test.items() if value is None or isinstance(value, (int, float)))
            row = {key: metrics[key] for key in ("round", "labeled", "fraction")} | {name: test[name]}
        except StopIteration:
            raise UserError(f"{path} holds no metric under 'test'") from None
        except KeyError as error:
            raise UserError(f"{path} has no {error}") from None
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise UserError(f"{path} is no round's metrics: {error}") from None
        rows.append(row | {f"seconds_{part}": seconds.get(part) for part in SECONDS})
    return sorted(rows, key=lambda row: row["round"])


def write_curve(run_dir: Path | str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write ``curve.csv`` of `rows` (as `collect` returns them), atomically.

    Floats are written with as many digits as reading them back exactly takes; None and NaN as nothing.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("a curve needs at least one round")
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None or value != value else value for key, value in row.items()})
    return write_atomically(Path(run_dir) / "curve.csv", text.getvalue())


def read_curve(path: Path | str) -> pd.DataFrame:
    """Read a ``curve.csv``, or that of a run directory: one row a round, floats exactly as written.

    Raises:
        UserError: the file is missing or is no curve; names it.
    """
    path = Path(path)
    path = path / "curve.csv" if path.is_dir() else path
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        # not pandas.read_csv, whose floats are exact in some versions and options only
        columns = {name: [row[index] for row in rows] for index, name in enumerate(header)}
        curve = pd.DataFrame({name: _numbers(column) for name, column in columns.items()})
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    if missing := {"round", "labeled", "fraction"} - set(curve.columns):
        raise UserError(f"{path} is no curve: it lacks the column {', '.join(sorted(missing))}")
    if not main_metric(curve):
        raise UserError(f"{path} is no curve: it has no column of a metric")
    if not curve["labeled"].is_unique:
        raise UserError(f"{path} has two rounds with the same number of labeled images")
    return curve


def _numbers(column: Sequence[str]) -> list[int] | list[float]:
    try:
        return [int(cell) for cell in column]
    except ValueError:
        return [float(cell or "nan") for cell in column]


def main_metric(curve: pd.DataFrame) -> str:
    """Return the name of the curve's metric: its first column that is nothing else; '' without one."""
    return next((name for name in curve.columns if name not in _NOT_METRIC), "")


def run_name(run_dir: Path | str) -> str:
    """Return what a run is called: ``runs/<name>/seed<k>`` is <name>, any other folder its own name."""
    path = Path(run_dir).resolve()
    return path.parent.name if re.fullmatch(r"seed\d+", path.name) else path.name


def plot_curve(run_dir: Path | str, others: Iterable[Path | str] = ()) -> Path:
    """Draw ``curve.png`` of a run from its ``curve.csv``, beside the curves of other runs.

    Args:
        run_dir: the run; its values stand at its points.
        others: runs on the same data to compare with, Random above all. Those of one name count as the
            seeds of one curve; those without a curve yet are left out.

    Raises:
        UserError: a curve cannot be read, or an other run has a different metric.
    """
    run_dir = Path(run_dir).resolve()
    own = run_name(run_dir)
    runs: dict[str, list[Path]] = {own: [run_dir]}
    for other in map(Path, others):
        if (other / "curve.csv").exists() and other.resolve() != run_dir:
            name = run_name(other)
            runs.setdefault(f"{own}, other seeds" if name == own else name, []).append(other)
    figure = plot_curves(runs, title=own if own == run_dir.name else f"{own} · {run_dir.name}", values=own)
    return save_figure(figure, run_dir / "curve.png")


def plot_curves(
    runs: Mapping[str, Sequence[Path | str]],
    title: str | None = None,
    values: str | None = None,
    full_data: float | None = None,
) -> Figure:
    """Draw learning curves, one a label.

    A label with several runs (seeds) is drawn as their mean over the label counts that all of them have
    reached, in a band from their minimum to their maximum.

    Args:
        runs: run directories, or paths of curve.csv, by label. Colour, marker and line follow from the
            strategy's name in the label (`STYLES` in styles.py), and do not change with what else is drawn.
        title: line above.
        values: label whose values are written at its points; a curve that is alone always has them.
        full_data: score of the model trained on the whole pool, in [0, 1]; drawn as a level line.

    Raises:
        UserError: a curve cannot be read, or the curves differ in metric.
    """
    read = _read(runs)
    curves = {label: _over_seeds(seeds) for label, seeds in read.items()}
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    styles = styles_of(list(curves))
    shown: list[float] = []
    for order, (label, curve) in enumerate(curves.items()):
        color, marker, line = styles[label]
        x, mean = curve.index.to_numpy(), 100 * curve["mean"].to_numpy()
        low, high = 100 * curve["min"].to_numpy(), 100 * curve["max"].to_numpy()
        seeds = len(runs[label])
        text = f"{label} ({seeds} seeds)" if seeds > 1 else label
        front = 3 + (label == values) + order / 100
        axes.plot(
            x,
            mean,
            color=color,
            marker=marker,
            linestyle=line,
            linewidth=1.8,
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.8,
            label=literal(text),
            zorder=front,
        )
        if seeds > 1:
            axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        if label == values or len(curves) == 1:
            for point in zip(x, mean, strict=True):
                if math.isfinite(point[1]):
                    axes.annotate(
                        f"{point[1]:.1f}",
                        point,
                        xytext=(0, 8),
                        textcoords="offset points",
                        ha="center",
                        fontsize=9,
                        color=color,
                        zorder=front,
                        bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "boxstyle": "square,pad=0.1"},
                    )
        shown += [*low, *high]
    if full_data is not None:
        shown.append(100 * full_data)
        axes.axhline(100 * full_data, color="#222222", linewidth=1, linestyle=(0, (6, 3)), label="all labeled")

    axes.set_ylabel(f"test {_metric(read)} (%)")
    _limits(axes, np.array(shown))
    _label_axis(axes, read)
    if title:
        axes.set_title(literal(title), loc="left", fontsize=12)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1 or full_data is not None:
        banded = any(len(seeds) > 1 for seeds in runs.values())
        axes.legend(
            loc="best",
            frameon=False,
            handlelength=3.2,
            fontsize=9,
            title="mean of seeds, band min–max" if banded else None,
            title_fontsize=8,
            alignment="left",
        )
    return figure


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Write a figure as PNG at 150 dpi, atomically."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    return write_atomically(Path(path), data.getvalue())


def markdown_table(runs: Mapping[str, Sequence[Path | str]]) -> str:
    """Return the metric in % by number of labeled images as a Markdown table, a row a label.

    Several seeds give mean ± standard deviation (n - 1); a count that not all seeds have reached is empty.

    Raises:
        UserError: a curve cannot be read, or the curves differ in metric.
    """
    read = _read(runs)
    curves = {label: _over_seeds(seeds) for label, seeds in read.items()}
    counts = sorted({count for curve in curves.values() for count in curve.index})
    lines = [f"| {_metric(read)} (%) | seeds | " + " | ".join(map(str, counts)) + " |"]
    lines.append("|---|--:|" + "--:|" * len(counts))
    for label, curve in curves.items():
        cells = []
        for count in counts:
            mean = curve["mean"].get(count, math.nan)
            spread = f" ± {100 * curve['std'][count]:.1f}" if len(runs[label]) > 1 and mean == mean else ""
            cells.append(f"{100 * mean:.1f}{spread}" if mean == mean else "")
        lines.append(f"| {label.replace('|', chr(92) + '|')} | {len(runs[label])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _read(runs: Mapping[str, Sequence[Path | str]]) -> dict[str, list[pd.DataFrame]]:
    return {label: [read_curve(seed) for seed in seeds] for label, seeds in runs.items()}


def _metric(read: Mapping[str, Sequence[pd.DataFrame]]) -> str:
    names = {main_metric(curve): label for label, curves in read.items() for curve in curves}
    if len(names) > 1:
        found = ", ".join(f"{name} in {label}" for name, label in names.items())
        raise UserError(f"runs of different metrics cannot be compared: {found}")
    return next(iter(names), "")


def _over_seeds(curves: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return mean, min, max and std of the metric over seeds, by number of labeled images."""
    table = pd.concat([curve.set_index("labeled")[main_metric(curve)] for curve in curves], axis=1, join="inner")
    # only counts that every seed has reached, with a value: a mean over fewer would jump where a seed ends
    parts = {name: getattr(table, name)(axis=1, skipna=False) for name in ("mean", "min", "max", "std")}
    return pd.DataFrame(parts).sort_index()


def _limits(axes: Axes, shown: np.ndarray) -> None:
    shown = shown[np.isfinite(shown)]
    if shown.size:
        low, high = shown.min(), shown.max()
        # at least four points high, so that noise does not look like a mountain; room for the values above
        pad = max(0.08 * (high - low), (4 - (high - low)) / 2)
        axes.set_ylim(max(low - pad, 0) if low >= 0 else low - pad, high + 1.5 * pad)


def _label_axis(axes: Axes, read: Mapping[str, Sequence[pd.DataFrame]]) -> None:
    """Mark the rounds on the x axis, and below each number its share of the pool, if there is one pool."""
    every = pd.concat([curve for curves in read.values() for curve in curves], ignore_index=True)
    counts = np.sort(every["labeled"].unique())
    largest = every.loc[every["labeled"].idxmax()]
    pool = largest["labeled"] / largest["fraction"] if largest["fraction"] > 0 else math.inf
    # fractions may be rounded, counts are not: within half an image they are of one pool
    shared = bool((abs(every["fraction"] * pool - every["labeled"]) < 0.5 + 0.001 * pool).all())
    if len(counts) <= 9:
        axes.xaxis.set_major_locator(matplotlib.ticker.FixedLocator(counts.tolist()))
    else:
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(
        lambda x, _: f"{x:,.0f}\n{100 * x / pool:.3g} %".replace(",", "\u2009") if shared else f"{x:,.0f}"
    )
    axes.set_xlabel("labeled images" + (", and their share of the pool" if shared else ""))
    if len(counts) == 1:
        axes.set_xlim(counts[0] * 0.5, counts[0] * 1.5)
    else:
        axes.margins(x=0.06)
