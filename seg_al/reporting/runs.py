"""Reading run directories, of a study or of any origin, finished or going on: what a report is made of."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_al.config import UserError
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
        of = f" of {self.planned}" if self.planned else ""
        if not self.problem and self.finished:
            return ""
        said = f"; its log ends with {self.last_error!r}" if self.last_error else ""
        return (self.problem or f"unfinished: {len(self.rounds)}{of} rounds") + said


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

    first_seconds: Mapping[int, float] = field(default_factory=dict)
    """Of each seed's shared first round: seconds of its training and evaluation."""

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


def read_runs(folders: Sequence[Path | str]) -> Runs:
    """Read the runs in these folders: runs themselves, folders of seeds, or of studies.

    Seeds of one experiment (``<name>/seed<k>``) are one strategy, by that name. Two of the same name in different
    folders go by as much of their paths as tells them apart (``<parent>/<name>``). In a folder with ``study.json``,
    runs that were planned and never started are listed as broken, and its shared first rounds are no strategy.

    Raises:
        UserError: a folder without a run, or runs of different metrics.
    """
    found: dict[Path, Run] = {}
    planned: dict[Path, Mapping[str, Any]] = {}
    for folder in (Path(f).resolve() for f in folders):
        here = list(_runs_below(folder))
        about = _read_json(folder / "study.json")
        if not here and not about:
            raise UserError(f"{folder}: no run in it; give runs, folders of seeds, or a study's folder")
        found |= {path: read_run(path) for path in here}
        if about:
            planned[folder] = about
    for path in sorted(_wanted(planned) - found.keys()):
        found[path] = Run(path, path.parent.name, int(path.name[4:]), "", (), None, False, "never started")

    studies = {home: _read_json(home / "study.json") for home in {path.parent.parent for path in found}}
    first = {run.seed: _seconds_of_first(run) for run in found.values() if _is_first(run, studies) and run.rounds}
    order = {home / name: k for home, about in studies.items() for k, name in enumerate(about.get("strategies", ()))}
    every = sorted(
        (run for run in found.values() if not _is_first(run, studies)),
        key=lambda run: (order.get(run.path.parent, len(order)), str(_home(run)), run.seed),
    )
    names = _names([_home(run) for run in every])
    every = [replace(run, strategy=names[_home(run)]) for run in every]
    usable = [run for run in every if run.rounds and not run.problem]
    metrics = {run.metric: run for run in usable}
    if len(metrics) > 1:
        parts = ", ".join(f"{metric} in {run.path}" for metric, run in metrics.items())
        raise UserError(f"runs of different metrics cannot be compared: {parts}")
    return Runs(
        runs=tuple(run for run in usable if not run.full),
        full=tuple(run for run in usable if run.full),
        broken=tuple(run for run in every if run not in usable),
        metric=next(iter(metrics), ""),
        pool=_one([pool for home in studies if (pool := _read_json(home / "pool.json"))]) or {},
        sequence=_one([about["sequence"] for about in studies.values() if about.get("sequence")]) or "",
        first_seconds=first,
    )


def _runs_below(folder: Path) -> Iterator[Path]:
    """Yield the run directories at most three folders deep."""
    for depth in ("", "*/", "*/*/", "*/*/*/"):
        for path in sorted(folder.glob(f"{depth}config.py")):
            if (path.parent / "rounds").is_dir() or (path.parent / "state.json").exists():
                yield path.parent


def _wanted(planned: Mapping[Path, Mapping[str, Any]]) -> set[Path]:
    """Return the run directories that studies say they will have."""
    return {
        folder / name / f"seed{seed}"
        for folder, about in planned.items()
        for name in (*about["strategies"], *([FULL] if about.get("full") else []))
        for seed in about["seeds"]
    }


def _is_first(run: Run, studies: Mapping[Path, Mapping[str, Any]]) -> bool:
    return run.path.parent.name == FIRST and bool(studies.get(run.path.parent.parent))


def _home(run: Run) -> Path:
    """Return the folder that a strategy is named after."""
    return run.path.parent if run.path.name == f"seed{run.seed}" else run.path


def _names(homes: Iterable[Path]) -> dict[Path, str]:
    """Return for each folder the last parts of its path, as few as no other folder ends with."""
    every = set(homes)
    names = {}
    for home in every:
        for parts in range(1, len(home.parts) + 1):
            names[home] = "/".join(home.parts[-parts:])
            if not any(other.parts[-parts:] == home.parts[-parts:] for other in every - {home}):
                break
    return names


def _one(values: Sequence[Any]) -> Any:
    """Return what all values are, None where they differ or there is none: two pools are no pool."""
    return values[0] if values and all(value == values[0] for value in values) else None


def read_run(path: Path) -> Run:
    """Read one run directory; what is wrong with it stands in ``problem``."""
    seed = re.fullmatch(r"seed(0|[1-9]\d*)", path.name)
    strategy, number = (path.parent.name, int(seed[1])) if seed else (path.name, 0)
    state: Mapping[str, Any] = {}
    rounds: list[Round] = []
    metric = problem = ""
    file = path / "state.json"
    try:
        state = _json(file) or {}
        for file in sorted(path.glob("rounds/*/metrics.json")):
            values = json.loads(file.read_text(encoding="utf-8"))
            metric = next(name for name, value in values["test"].items() if not isinstance(value, Mapping))
            rounds.append(_read_round(file.parent, values, metric))
    except StopIteration:
        problem = f"damaged: {file} has no metric under 'test'"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        problem = f"damaged: {file}: {' '.join(reason.split())}"
    rounds.sort(key=lambda one: one.number)
    if not rounds and not problem:
        problem = "no round finished yet"
    planned = _planned(path / "config.py")
    finished = state.get("phase") == "done" and (planned is None or len(rounds) == planned)
    last = "" if finished else _last_error(path.parent.parent / "logs" / f"{strategy}_{path.name}.log")
    return Run(path, strategy, number, metric, tuple(rounds), planned, finished, problem, last)


def _read_round(folder: Path, values: Mapping[str, Any], metric: str) -> Round:
    classes = next((part for part in values["test"].values() if isinstance(part, Mapping)), {})
    labeled = tuple((folder / "labeled.txt").read_text(encoding="utf-8").splitlines())
    if len(labeled) != values["labeled"]:
        raise ValueError(f"says {values['labeled']} labeled images, but labeled.txt lists {len(labeled)}")
    query = None
    if (folder / "query.csv").exists():
        with open(folder / "query.csv", newline="", encoding="utf-8") as table:
            ids = tuple(row["id"] for row in csv.DictReader(table))
        about = values.get("query") or {}
        redundancy = _number(about.get("redundancy"))
        query = Query(ids, about.get("pixels") or {}, about.get("images") or {}, redundancy, folder / "query")
    seconds = values.get("seconds") or {}
    return Round(
        number=int(values["round"]),
        labeled=labeled,
        fraction=float(values["fraction"]),
        score=_number(values["test"][metric]),
        classes={name: _number(value) for name, value in classes.items()},
        seconds={part: _number(seconds.get(part)) for part in PHASES},
        diagnostics=values.get("diagnostics") or {},
        query=query,
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _planned(config: Path) -> int | None:
    """Return the number of rounds that a saved config says, without running it: reports read what others sent."""
    text = config.read_text(encoding="utf-8", errors="replace") if config.exists() else ""
    rounds = re.search(r"^ {4}rounds=(\d+),$", text, re.MULTILINE)  # a setting of the experiment, not of a part of it
    return int(rounds[1]) if rounds else None


def _last_error(log: Path) -> str:
    """Return the last line of a run's log if it is an error's, shortened; else ''."""
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last[:200] if re.match(r"error: |(\w+\.)*\w*(Error|Exception|Interrupt)\b", last) else ""


def _seconds_of_first(run: Run) -> float:
    return run.rounds[0].seconds["train"] + run.rounds[0].seconds["evaluate"]


def _json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _read_json(path: Path) -> dict[str, Any]:
    """Read a file of a study; empty where there is none.

    Raises:
        UserError: it is damaged.
    """
    try:
        return _json(path) or {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it, or run the study again") from None
