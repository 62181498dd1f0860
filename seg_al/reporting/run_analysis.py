"""Numbers of a report about the runs themselves: their time, diagnostics of VAAL, and what is not finished."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from seg_al.config import identity
from seg_al.reporting.analysis import bands
from seg_al.reporting.runs import PHASES, Round, Run, Runs


def time_table(runs: Runs) -> pd.DataFrame:
    """Return the seconds of a round by phase: strategy, train, acquisition, score, select, evaluate, rounds, queries.

    Means over seeds and rounds; of acquisition, score and select, over the rounds that had a query (the last one has
    none). NaN where nothing was noted.
    """
    rows = []
    for strategy in runs.strategies:
        rounds = [r for run in runs.of(strategy) for r in run.rounds]
        queried = [r for r in rounds if r.query]
        row: dict[str, object] = {"strategy": strategy}
        for phase in PHASES:
            counted = rounds if phase in ("train", "evaluate") else queried
            values = [r.seconds[phase] for r in counted if not math.isnan(r.seconds[phase])]
            row[phase] = float(np.mean(values)) if values else math.nan
        rows.append(row | {"rounds": len(rounds), "queries": len(queried)})
    return pd.DataFrame(rows, columns=["strategy", *PHASES, "rounds", "queries"])


def settings_apart(runs: Runs) -> list[str]:
    """Return in what settings runs differ beside name, strategy, seed and machine, a line for each kind of them.

    Differences between strategies may be due to these. Runs whose config is not there are left out.
    """
    kinds: dict[tuple[str, ...], list[Run]] = {}
    for run in runs.runs:
        config = run.path / "config.py"
        text = config.read_text(encoding="utf-8", errors="replace") if config.exists() else ""
        if text:
            kinds.setdefault(tuple(identity(text, ("name", "strategy", "seed", "machine"))), []).append(run)
    most = max(kinds, key=lambda kind: len(kinds[kind]), default=())
    lines = []
    for kind, some in kinds.items():
        if kind != most:
            changes = list(difflib.ndiff(most, kind))
            own, others = (_settings([line[2:] for line in changes if line[0] == sign]) for sign in "+-")
            names = ", ".join(dict.fromkeys(run.strategy for run in some))
            lines.append(f"{names}: {own or 'without'} where most have {others or 'none'}")
    return lines


def _settings(lines: Sequence[str]) -> str:
    """Return the first few lines of a config as one."""
    return ", ".join(line.strip().rstrip(",") for line in lines[:5]).replace("(, ", "(").replace(", )", ")")


def diagnostics_table(runs: Runs, part: str = "vaal") -> pd.DataFrame:
    """Return the numbers that a strategy noted of itself under ``diagnostics.<part>``, lists left out.

    Returns:
        diagnostic, strategy, labeled, mean, low, high, n.
    """
    found = [_noted(r, part) for run in runs.runs for r in run.rounds]
    names = dict.fromkeys(name for noted in found for name, value in noted.items() if _is_number(value))
    parts = []
    for name in names:

        def value(r: Round, name: str = name) -> float:
            noted = _noted(r, part).get(name)
            return float(noted) if _is_number(noted) else math.nan  # type: ignore[arg-type]

        table = bands(runs, value)
        table.insert(0, "diagnostic", name)
        parts.append(table)
    columns = ["diagnostic", "strategy", "labeled", "mean", "low", "high", "n"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _noted(r: Round, part: str) -> Mapping[str, object]:
    noted = r.diagnostics.get(part)
    return noted if isinstance(noted, Mapping) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def problem_table(runs: Runs) -> pd.DataFrame:
    """Return the runs that are not complete: run, seed, status, folder. Other numbers are of what they have, if any."""
    every = (*runs.runs, *runs.full, *runs.broken)
    rows = [(run.strategy, run.seed, run.status, str(run.path)) for run in every if run.status]
    return pd.DataFrame(rows, columns=["run", "seed", "status", "folder"])


def seconds_saved(runs: Runs) -> tuple[float, float]:
    """Return the seconds that sharing first rounds has saved, and the seconds those rounds took once."""
    saved = spent = 0.0
    for (study, seed), seconds in runs.first_seconds.items():
        if not math.isnan(seconds):
            users = sum(run.seed == seed and run.path.parent.parent == study for run in runs.runs)
            spent, saved = spent + seconds, saved + seconds * max(0, users - 1)
    return saved, spent
