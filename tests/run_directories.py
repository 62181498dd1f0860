"""Run directories written by hand, for what reads them: no training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

POOL = 100
"""Images in the pool, ``a000`` to ``a099``; ids of queries count on from what is labeled unless they are given."""

SECONDS = {"train": 10.0, "acquisition": 2.0, "score": 1.0, "select": 0.5, "evaluate": 3.0}


def write_run(
    path: Path,
    scores: Sequence[float | None],
    *,
    initial: int = 10,
    budget: int = 10,
    planned: int | None = None,
    metric: str = "mIoU",
    classes: Sequence[Mapping[str, float | None]] = (),
    queries: Sequence[Sequence[str]] = (),
    about: Sequence[Mapping[str, Any]] = (),
    seconds: Mapping[str, float] = SECONDS,
    diagnostics: Sequence[Mapping[str, Any]] = (),
    pool: int = POOL,
    phase: str = "done",
    labeled: Sequence[str] | None = None,
) -> Path:
    """Write a run of these scores, a round each; what is not given is left out, as old runs do.

    Args:
        path: ``<strategy>/seed<k>``.
        planned: rounds in its config; as many as there are scores where None.
        classes, about, diagnostics: of each round: scores of classes, notes on its query, diagnostics.
        queries: ids queried in each round but the last; the next ones in order where empty.
        labeled: ids of the initial pool; the first ones where None.
    """
    ids = [f"a{k:03d}" for k in range(pool)]
    have = list(labeled) if labeled is not None else ids[:initial]
    path.mkdir(parents=True)
    count = len(scores) if planned is None else planned
    (path / "config.py").write_text(
        f"config = Experiment(\n    train=Train(\n        rounds=77,\n    ),\n    rounds={count},\n)\n"
    )
    for number, score in enumerate(scores):
        folder = path / f"rounds/{number:02d}"
        folder.mkdir(parents=True)
        (folder / "labeled.txt").write_text("".join(f"{name}\n" for name in have))
        values: dict[str, Any] = {
            "round": number,
            "labeled": len(have),
            "fraction": len(have) / pool,
            "test": {metric: score},
            "seconds": dict(seconds),
            "diagnostics": dict(diagnostics[number]) if number < len(diagnostics) else {},
        }
        if number < len(classes):
            values["test"]["IoU"] = dict(classes[number])
        if number < count - 1:
            picks = list(queries[number]) if number < len(queries) else [n for n in ids if n not in have][:budget]
            rows = "".join(f"{rank},{name},\n" for rank, name in enumerate(picks, 1))
            (folder / "query.csv").write_text(f"rank,id,score\n{rows}")
            if number < len(about):
                values["query"] = dict(about[number])
            have += picks
        (folder / "metrics.json").write_text(json.dumps(values))
    (path / "state.json").write_text(json.dumps({"round": max(len(scores) - 1, 0), "phase": phase}))
    return path


def write_full(path: Path, score: float, pool: int = POOL, **options: Any) -> Path:
    """Write a run on the whole pool."""
    return write_run(path, [score], initial=pool, pool=pool, **options)


def write_study(
    folder: Path, strategies: Sequence[str], seeds: Sequence[int], full: bool = False, rounds: int = 3, **more: Any
) -> Path:
    """Write ``study.json``; `more` may hold ``sequence``, and ``pool`` for ``pool.json``."""
    pool = more.pop("pool", None)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "strategies": list(strategies),
        "seeds": list(seeds),
        "full": full,
        "rounds": rounds,
        "sequence": "",
        **more,
    }
    (folder / "study.json").write_text(json.dumps(about))
    if pool is not None:
        (folder / "pool.json").write_text(json.dumps(pool))
    return folder
