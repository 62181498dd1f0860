"""What a report is made of: runs, their rounds and queries, as `reading` finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seg_al.reporting.curves import SECONDS

PHASES = (*SECONDS, "evaluate")
"""Phases of a round, in order."""

FIRST, FULL = "first_round", "full"
"""Names of a study's runs that belong to no strategy: the first round that all share, and the whole pool labeled."""


@dataclass(frozen=True)
class Query:
    """What a strategy asked for in one round."""

    ids: tuple[str, ...]
    """Best first."""

    pixels: Mapping[str, int]
    """Labeled pixels of each class (whole images, in classification); empty in runs that did not note them."""

    images: Mapping[str, int]
    """Images that show each class."""

    redundancy: float
    """Mean over the images of the greatest correlation with another one of the query, at most 1; or NaN."""

    folder: Path
    """Where pictures are: ``001.jpg`` and ``001_label.jpg`` by rank, as far as kept."""

    scores: tuple[float, ...] = ()
    """Of each id, NaN where the strategy gave none."""


@dataclass(frozen=True)
class Round:
    """A round that was evaluated."""

    number: int
    labeled: tuple[str, ...]
    """Ids that its model was trained on."""

    fraction: float
    """Share of the pool, in [0, 1]."""

    score: float
    """The metric, in [0, 1], or NaN."""

    classes: Mapping[str, float]
    """Of each class, in [0, 1], or NaN."""

    seconds: Mapping[str, float]
    """Of each phase: train, acquisition, score, select, evaluate; NaN where a run did not note it."""

    diagnostics: Mapping[str, Any]
    query: Query | None
    """None in the last round, and where the round is not finished."""


@dataclass(frozen=True)
class Run:
    """One strategy with one seed."""

    path: Path
    strategy: str
    seed: int
    metric: str
    rounds: tuple[Round, ...]
    """By number."""

    planned: int | None
    """Rounds that it is to have, where known."""

    finished: bool
    problem: str = ""
    """Why it cannot be used, for people; empty for a sound run."""

    last_error: str = ""
    """Last line of its log where that is an error: why a run that is not finished may have stopped."""

    @property
    def full(self) -> bool:
        """Whether its only round is on the whole pool: the upper bound."""
        return len(self.rounds) == 1 and self.rounds[0].fraction == 1

    @property
    def status(self) -> str:
        """What is to be said of a run that is not complete; empty for a finished one."""
        if not self.problem and self.finished:
            return ""
        of = f" of {self.planned}" if self.planned else ""
        gap = f", round {', '.join(map(str, self.missing))} is missing" if self.missing else ""
        said = f"; its log ends with {self.last_error!r}" if self.last_error else ""
        return (self.problem or f"unfinished: {len(self.rounds)}{of} rounds{gap}") + said

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of rounds before its last one that are not there."""
        there = {r.number for r in self.rounds}
        return tuple(number for number in range(max(there, default=0)) if number not in there)


@dataclass(frozen=True)
class Runs:
    """All runs of a report."""

    runs: tuple[Run, ...]
    """Usable ones, with at least one round, in the order of strategies and seeds; upper bounds apart."""

    full: tuple[Run, ...]
    """The upper bounds."""

    broken: tuple[Run, ...]
    """Those without a usable round, or that were planned and never started."""

    metric: str
    pool: Mapping[str, Any] = field(default_factory=dict)
    """``{"size", "pixels": {class: count}, "images": {class: count}}`` of the whole pool, where known."""

    sequence: str = ""
    """Regular expression of what names a sequence, at the start of ids; empty where the study gives none."""

    first_seconds: Mapping[tuple[Path, int], float] = field(default_factory=dict)
    """Of each study (its folder) and seed: seconds that training and evaluating the shared first round took."""

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(dict.fromkeys(run.strategy for run in self.runs))

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, ascending."""
        return tuple(sorted({run.seed for run in self.runs}))

    def of(self, strategy: str) -> tuple[Run, ...]:
        """Return a strategy's runs, by seed."""
        return tuple(run for run in self.runs if run.strategy == strategy)

    @property
    def budgets(self) -> np.ndarray:
        """Numbers of labeled images at which any run was evaluated, (K,) int64, ascending."""
        return np.unique([len(r.labeled) for run in self.runs for r in run.rounds]).astype(np.int64)

    def scores(self, strategy: str) -> np.ndarray:
        """Return the metric by seed (as `seeds`) and budget (as `budgets`), (S, K); NaN where there is none."""
        return self.table(strategy, lambda r: r.score)

    def table(self, strategy: str, value: Callable[[Round], float]) -> np.ndarray:
        """Return ``value(round)`` by seed and budget, (S, K) float64; NaN where there is no round."""
        table = np.full((len(self.seeds), len(self.budgets)), np.nan)
        for run in self.of(strategy):
            for r in run.rounds:
                table[self.seeds.index(run.seed), np.searchsorted(self.budgets, len(r.labeled))] = value(r)
        return table
