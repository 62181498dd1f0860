"""Confusion matrices: as a table of counts on disk, and as a picture of shares."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seg_al.config import UserError

WRITTEN_OUT = 24
"""Up to so many classes, each cell shows its number; above twice as many, classes go without names."""


def confusion_table(matrix: np.ndarray, class_names: Sequence[str]) -> str:
    """Return counts (C, C), ``[ground truth, prediction]``, as CSV: a row and a column for each class, with names."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["truth \\ prediction", *class_names])
    for name, row in zip(class_names, matrix.tolist(), strict=True):
        writer.writerow([name, *row])
    return text.getvalue()


def read_confusion(path: Path | str) -> tuple[np.ndarray, list[str]]:
    """Read what `confusion_table` wrote: counts (C, C) int64, and the classes' names.

    Raises:
        UserError: the file is missing or no such table; names it.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            (_, *names), *rows = csv.reader(file)
        matrix = np.array([row[1:] for row in rows], dtype=np.int64).reshape(len(names), len(names))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no confusion matrix: {error}") from None
    return matrix, names


def plot_confusion(matrix: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Draw a confusion matrix, (H, W, 3) uint8: each row in shares of its class's ground truth, in %.

    Args:
        matrix: (C, C) counts, ``[ground truth, prediction]``; a class without ground truth stays blank.
        class_names: C names.
    """
    count = len(class_names)
    share = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(12.0, max(4.0, 1.8 + 0.42 * count))
    figure = Figure(figsize=(side + 0.8, side), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = axes.imshow(np.where(matrix.sum(1, keepdims=True) > 0, share, np.nan), cmap="Blues", vmin=0, vmax=100)
    axes.set_xlabel("prediction")
    axes.set_ylabel("ground truth")
    names = [name.replace("$", r"\$") for name in class_names]
    size = 9 if count <= WRITTEN_OUT else 6
    if count <= 2 * WRITTEN_OUT:
        axes.set_xticks(range(count), names, rotation=90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
    if count <= WRITTEN_OUT:
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.5:
                ink = "white" if value > 55 else "#222222"
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=ink)
    figure.colorbar(shown, label="% of the ground truth", shrink=0.8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
