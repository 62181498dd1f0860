"""Tables as CSV, LaTeX and Markdown."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seg_al.reporting.tables import Table, escaped, interval, latex, latex_text, markdown, number, p_value, write_table


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (interval(0.5418, 0.53, 0.55), "54.2 ± 1.0"),
        (interval(0.5418, np.nan, np.nan), "54.2"),
        (interval(np.nan, np.nan, np.nan), "–"),
        (interval(-0.0123, -0.02, 0.0, sign=True), "−1.2 ± 1.0"),
        (interval(0.0123, 0.0, 0.02, sign=True), "+1.2 ± 1.0"),
        (number(-3.14159, 2), "−3.14"),
        (p_value(0.0004), "< 0.001"),
        (p_value(0.03125), "0.031"),
        (p_value(np.nan), "–"),
    ],
)
def test_cells_are_rounded_for_people(value: str, expected: str) -> None:
    assert value == expected


def test_names_print_literally_in_latex() -> None:
    assert latex_text(r"a_b & 90 % $x$ #1 {y} \z ~^ ≤ 3 ± 1 −2") == (
        r"a\_b \& 90 \% \$x\$ \#1 \{y\} \textbackslash{}z \textasciitilde{}\textasciicircum{} $\leq$ 3 $\pm$ 1 $-$2"
    )


def test_latex_is_a_booktabs_table() -> None:
    shown = pd.DataFrame({"strategy": ["my_run", "[x]"], "20": ["1 ± 2", "–"]})
    lines = latex(Table("scores", "All of it, 95 %.", shown, shown)).splitlines()
    assert r"\caption{All of it, 95 \%.}" in lines and r"\label{tab:scores}" in lines
    start = lines.index(r"\begin{tabular}{lr}")
    assert lines[start + 1 : start + 8] == [
        r"\toprule",
        r"strategy & 20 \\",
        r"\midrule",
        r"my\_run & 1 $\pm$ 2 \\",
        r"{}[x] & -- \\",  # a row that began with [ would be the length of the line break before it
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_markdown_keeps_names_and_columns_apart() -> None:
    table = pd.DataFrame({"strategy": ["a_b|c", "*x*"], "20": ["< 0.001", "1"]})
    assert markdown(table) == "| strategy | 20 |\n|---|--:|\n| a\\_b\\|c | \\< 0.001 |\n| \\*x\\* | 1 |\n"
    table = pd.DataFrame({"run": ["a", "b"], "status": ["never started", "–"], "difference": ["–", "−0.1 ± 2"]})
    assert markdown(table).splitlines()[1] == "|---|---|--:|"
    assert escaped("[^_]*") == r"\[^\_]\*"  # else a footnote


def test_csv_holds_all_digits(tmp_path: Path) -> None:
    data = pd.DataFrame({"strategy": ["a,b", "c"], "mean": [1 / 3, np.nan]})
    paths = write_table(Table("scores", "", data, data.astype(str)), tmp_path)
    assert [path.name for path in paths] == ["scores.csv", "scores.tex"]
    with open(paths[0], newline="") as file:
        assert list(csv.reader(file)) == [["strategy", "mean"], ["a,b", repr(1 / 3)], ["c", ""]]
