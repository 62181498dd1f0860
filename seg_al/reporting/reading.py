"""Reading run directories, of a study or of any origin, finished or going on."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seg_al.config import UserError
from seg_al.reporting.runs import FIRST, FULL, PHASES, Query, Round, Run, Runs

ERROR = re.compile(r"error: |(\w+\.)*\w*(Error|Exception|Interrupt)\b")
"""What a line of a log begins with that says why a process ended."""

RESERVED = ("pool", "class", "strategy")
"""Names that tables give to other things than strategies."""


def read_runs(folders: Sequence[Path | str]) -> Runs:
    """Read the runs in these folders: runs themselves, folders of seeds, or of studies.

    Seeds of one experiment (``<name>/seed<k>``) are one strategy, by that name. Two of the same name in different
    folders go by as much of their paths as tells them apart (``<parent>/<name>``). In a folder with ``study.json``,
    or above it, runs that were planned and never started are listed as broken; shared first rounds are no strategy,
    and are listed only where they are not complete.

    Raises:
        UserError: a folder without a run, runs of different metrics, or a damaged file of a study.
    """
    found: dict[Path, Run] = {}
    planned: list[_Study] = []
    for folder in (Path(f).resolve() for f in folders):
        here = list(_runs_below(folder))
        about = [_read_study(file.parent) for depth in ("", "*/", "*/*/") for file in folder.glob(f"{depth}study.json")]
        if not here and not about:
            raise UserError(f"{folder}: no run in it; give runs, folders of seeds, or a study's folder")
        found |= {path: read_run(path) for path in here}
        planned += [study for study in about if study]
    for path in sorted({path for study in planned for path in study.wanted} - found.keys()):
        found[path] = Run(
            path, path.parent.name, _seed(path) or 0, "", (), None, False, "never started", _last_error(path)
        )

    homes = sorted({path.parent.parent for path in found})
    studies = {home: study for home in homes if (study := _read_study(home))}
    first = {path: run for path, run in found.items() if path.parent.name == FIRST and path.parent.parent in studies}
    order = {home / name: k for home, study in studies.items() for k, name in enumerate(study.strategies)}
    every = sorted(
        (run for path, run in found.items() if path not in first or run.status),
        key=lambda run: (order.get(run.path.parent, len(order)), str(_home(run)), run.seed),
    )
    names = _names([_home(run) for run in every])
    every = [replace(run, strategy=names[_home(run)]) for run in every]
    usable = [run for run in every if run.rounds and not run.problem and run.path not in first]
    metrics = {run.metric: run for run in usable}
    if len(metrics) > 1:
        parts = ", ".join(f"{metric} in {run.path}" for metric, run in metrics.items())
        raise UserError(f"runs of different metrics cannot be compared: {parts}")
    return Runs(
        runs=tuple(run for run in usable if not run.full),
        full=tuple(run for run in usable if run.full),
        broken=tuple(run for run in every if run not in usable),
        metric=next(iter(metrics), ""),
        pool=_one([pool for home in homes if (pool := _read_pool(home))]) or {},
        sequence=_one([study.sequence for study in studies.values() if study.sequence]) or "",
        first_seconds={
            (path.parent.parent, run.seed): _seconds_of_first(run) for path, run in first.items() if run.rounds
        },
    )


def _runs_below(folder: Path) -> Iterator[Path]:
    """Yield the run directories at most three folders deep, without hidden folders."""
    for depth in ("", "*/", "*/*/", "*/*/*/"):
        for path in sorted(folder.glob(f"{depth}config.py")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)  # a trash, checkpoints
            marks = (path.parent / name for name in ("rounds", "state.json", ".lock"))  # the last from the start on
            if not hidden and any(mark.exists() for mark in marks):  # else it is a config of something else
                yield path.parent


@dataclass(frozen=True)
class _Study:
    """What a study wrote about itself."""

    home: Path
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    full: bool
    sequence: str

    @property
    def wanted(self) -> set[Path]:
        """Run directories that it will have."""
        names = (*self.strategies, *([FULL] if self.full else []))
        return {self.home / name / f"seed{seed}" for name in names for seed in self.seeds}


def _read_study(home: Path) -> _Study | None:
    file = home / "study.json"
    try:
        about = _object(_json(file), "it")
        if not about:
            return None
        strategies, seeds = tuple(map(str, about["strategies"])), tuple(map(int, about["seeds"]))
        return _Study(home, strategies, seeds, bool(about.get("full")), str(about.get("sequence", "")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(file, error) from None


def _read_pool(home: Path) -> Mapping[str, Any]:
    file = home / "pool.json"
    try:
        pool = _object(_json(file), "it")
        if pool and not pool["size"] > 0:
            raise ValueError("its size is not above 0")
        return pool and {"size": pool["size"], "pixels": _counts(pool, "pixels"), "images": _counts(pool, "images")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(f"{file}: damaged ({_reason(error)}); delete it, or run the study again")


def _home(run: Run) -> Path:
    """Return the folder that a strategy is named after."""
    return run.path.parent if run.path.name == f"seed{run.seed}" else run.path


def _names(homes: Iterable[Path]) -> dict[Path, str]:
    """Return for each folder the last parts of its path, as few as no other folder ends with."""
    every = set(homes)
    names = {}
    for home in every:
        for parts in range(1 + (home.name in RESERVED), len(home.parts) + 1):
            # names of files may hold what is no text
            names[home] = "/".join(home.parts[-parts:]).encode(errors="replace").decode()
            if not any(other.parts[-parts:] == home.parts[-parts:] for other in every - {home}):
                break
    return names


def _one(values: Sequence[Any]) -> Any:
    """Return what all values are, None where they differ or there is none: two pools are no pool."""
    return values[0] if values and all(value == values[0] for value in values) else None


def _seed(path: Path) -> int | None:
    match = re.fullmatch(r"seed(0|[1-9]\d*)", path.name)
    return int(match[1]) if match else None


def read_run(path: Path) -> Run:
    """Read one run directory; what is wrong with it stands in ``problem``."""
    seed = _seed(path)
    state: Mapping[str, Any] = {}
    rounds: list[Round] = []
    metric = problem = ""
    file = path / "state.json"
    try:
        state = _object(_json(file), "it")
        for file in sorted(path.glob("rounds/*/metrics.json")):
            if file.parent.name.isdigit():  # else somebody's copy of a round
                values = _object(_json(file), "it")
                name = _metric(values)
                if metric and name != metric:
                    raise ValueError(f"its metric is {name}, that of the rounds before {metric}")
                metric = name
                rounds.append(_read_round(file.parent, values, metric))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
        problem = f"damaged: {file}: {_reason(error)}"
    rounds.sort(key=lambda one: one.number)
    if not rounds and not problem:
        problem = "no round finished yet"
    planned = _planned(path / "config.py")
    finished = state.get("phase") == "done" and (planned is None or len(rounds) == planned)
    strategy = path.name if seed is None else path.parent.name
    run = Run(path, strategy, seed or 0, metric, tuple(rounds), planned, finished, problem)
    run = replace(run, finished=finished and not run.missing)
    return run if run.finished else replace(run, last_error=_last_error(path))


def _reason(error: Exception) -> str:
    return " ".join((f"no {error}" if isinstance(error, KeyError) else str(error)).split())


def _metric(values: Mapping[str, Any]) -> str:
    """Return the first name under ``test`` that is one number; classes have a number each."""
    for name, value in _object(values["test"], "'test'").items():
        if not isinstance(value, Mapping):
            return name
    raise ValueError("no metric under 'test'")


def _read_round(folder: Path, values: Mapping[str, Any], metric: str) -> Round:
    classes = next((part for part in values["test"].values() if isinstance(part, Mapping)), {})
    labeled = tuple((folder / "labeled.txt").read_text(encoding="utf-8").splitlines())
    if len(labeled) != values["labeled"]:
        raise ValueError(f"says {values['labeled']} labeled images, but labeled.txt lists {len(labeled)}")
    seconds = _object(values.get("seconds"), "'seconds'")
    return Round(
        number=int(values["round"]),
        labeled=labeled,
        fraction=float(values["fraction"]),
        score=_score(values["test"][metric]),
        classes={name: _score(value) for name, value in classes.items()},
        seconds={part: _number(seconds.get(part)) for part in PHASES},
        diagnostics=_object(values.get("diagnostics"), "'diagnostics'"),
        query=_read_query(folder, _object(values.get("query"), "'query'")),
    )


def _read_query(folder: Path, about: Mapping[str, Any]) -> Query | None:
    if not (folder / "query.csv").exists():
        return None
    picks = read_picks(folder / "query.csv")
    return Query(
        ids=tuple(name for name, _ in picks),
        pixels=_counts(about, "pixels"),
        images=_counts(about, "images"),
        redundancy=_number(about.get("redundancy")),
        folder=folder / "query",
        scores=tuple(_number(float(score)) if score else math.nan for _, score in picks),
    )


def read_picks(file: Path) -> list[tuple[str, str]]:
    """Return what a ``query.csv`` lists, best first: id, and score as it is written there.

    Raises:
        OSError, ValueError, KeyError, csv.Error: it is missing or no such table.
    """
    with open(file, newline="", encoding="utf-8") as table:
        picks = [(row["id"], row.get("score") or "") for row in csv.DictReader(table)]
    if not all(name for name, _ in picks):
        raise ValueError("query.csv has a line without an id")
    return picks


def _object(value: Any, what: str) -> Mapping[str, Any]:
    """Return an object of JSON, an empty one for null or a file that is not there; ValueError for anything else."""
    if not isinstance(value or {}, Mapping):
        raise ValueError(f"{what} is no object of JSON")
    return value or {}


def _counts(about: Mapping[str, Any], part: str) -> dict[str, int]:
    return {name: int(count) for name, count in _object(about.get(part), repr(part)).items()}


def _number(value: float | None) -> float:
    number = math.nan if value is None else float(value)
    if math.isinf(number):
        raise ValueError("a number is infinite")
    return number


def _score(value: float | None) -> float:
    score = _number(value)
    if not (math.isnan(score) or 0 <= score <= 1):
        raise ValueError(f"a score of {score:g}, which is not in [0, 1]")
    return score


def _planned(config: Path) -> int | None:
    """Return the number of rounds that a saved config says, without running it: reports read what others sent."""
    text = config.read_text(encoding="utf-8", errors="replace") if config.exists() else ""
    rounds = re.search(r"^ {4}rounds=(\d+),$", text, re.MULTILINE)  # a setting of the experiment, not of a part of it
    return int(rounds[1]) if rounds else None


def _last_error(run: Path) -> str:
    """Return the last line of a run's log in its study if it is an error's, shortened; else ''."""
    log = run.parent.parent / "logs" / f"{run.parent.name}_{run.name}.log"
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last[:200] if ERROR.match(last) else ""


def _seconds_of_first(run: Run) -> float:
    return run.rounds[0].seconds["train"] + run.rounds[0].seconds["evaluate"]


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
