"""Tables of a report: numbers as CSV, and as people read them, as LaTeX (booktabs) and Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from seg_al.reporting.files import write_atomically

MISSING = "–"

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$", "−": "$-$", "–": "--", "×": r"$\times$", "\u2009": r"\,",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table, as numbers and as text."""

    name: str
    """Of its files, without suffix."""

    caption: str

    data: pd.DataFrame
    """Numbers at full precision; index is left out."""

    shown: pd.DataFrame
    """Text of every cell, rounded and with intervals; index is left out."""


def interval(mean: float, low: float, high: float, scale: float = 100, digits: int = 1, sign: bool = False) -> str:
    """Return "54.2 ± 0.9": a mean and half its interval, times `scale`; the mean alone where there is none."""
    if math.isnan(mean):
        return MISSING
    half = "" if math.isnan(low) else f" ± {scale * (high - low) / 2:.{digits}f}"
    return number(scale * mean, digits, sign) + half


def number(value: float, digits: int, sign: bool = False) -> str:
    """Return a number with so many digits after the point, and a minus that is not a hyphen."""
    return MISSING if math.isnan(value) else f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def p_value(p: float) -> str:
    """Return a p-value with three digits, "< 0.001" below."""
    if math.isnan(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write ``<name>.csv`` (`data`) and ``<name>.tex`` (`shown`) into a folder; return their paths."""
    csv = table.data.to_csv(index=False, lineterminator="\n")
    return [
        write_atomically(folder / f"{table.name}.csv", csv),
        write_atomically(folder / f"{table.name}.tex", latex(table)),
    ]


def latex(table: Table) -> str:
    """Return the table for LaTeX with the package booktabs, first column left, others right; label ``tab:<name>``."""
    columns = list(table.shown.columns)
    rows = [_latex_row(columns), r"\midrule", *(_latex_row(row) for row in table.shown.itertuples(index=False))]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"\toprule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Iterable[object]) -> str:
    row = " & ".join(latex_text(str(cell)) for cell in cells) + r" \\"
    return "{}" + row if row.startswith("[") else row  # after the \\ of the row before, [ would begin a length


def latex_text(text: str) -> str:
    """Return text as LaTeX prints it literally."""
    return "".join(_LATEX.get(letter, letter) for letter in re.sub(r"\s*\n\s*", " ", text))


def markdown(table: pd.DataFrame) -> str:
    """Return a table of text as Markdown: columns without a number, and the first one, are left-aligned."""

    def row(cells: Iterable[object]) -> str:
        return "| " + " | ".join(escaped(str(cell)).replace("\n", " ").replace("|", r"\|") for cell in cells) + " |"

    columns = [[str(cell) for cell in table.iloc[:, k]] for k in range(1, table.shape[1])]
    numeric = [any(re.match(r"[-−+<>≤≥ ]*\d", cell) for cell in column) or not column for column in columns]
    rule = "|---|" + "".join("--:|" if right else "---|" for right in numeric)
    return "\n".join([row(table.columns), rule, *(row(cells) for cells in table.itertuples(index=False))]) + "\n"


def escaped(text: str) -> str:
    """Return text as Markdown shows it literally."""
    return re.sub(r"([\\`*_<]|\[(?=\^))", r"\\\1", text)
