"""Numbers of a report about scores: curves, areas, labels needed, differences from Random. Tables in long form.

Scores are in [0, 1] and intervals are of 95 %; ``n`` is the number of seeds that a number rests on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from seg_al.config import UserError, nearest
from seg_al.reporting.curves import SECONDS
from seg_al.reporting.label_efficiency import ReachedInterval, SavingInterval, bootstrap_reached, bootstrap_savings
from seg_al.reporting.runs import Round, Runs
from seg_al.reporting.statistics import (
    aubc,
    holm,
    mean_band,
    paired_difference,
    penalty_matrix,
    sign_flip_p,
    smallest_p,
)


def find_random(runs: Runs, name: str | None = None) -> str | None:
    """Return the strategy to compare with: the one named, or called random, or the only one with that word in its name.

    Raises:
        UserError: no strategy of that name.
    """
    if name is not None:
        if name not in runs.strategies:
            raise UserError(f"--random: no strategy {name!r} among the runs{nearest(name, runs.strategies)}")
        return name
    words = {
        one: [word for word in re.split(r"[^a-z]+", one.rpartition("/")[2].lower()) if word] for one in runs.strategies
    }
    exact = [one for one in words if one.rpartition("/")[2].lower() == "random"]
    called = exact or [one for one, name in words.items() if name == ["random"]]
    found = called or [one for one, name in words.items() if "random" in name]
    return found[0] if len(found) == 1 else None


def curve_table(runs: Runs) -> pd.DataFrame:
    """Return the learning curves: strategy, labeled, mean, low, high, n."""
    return bands(runs, lambda r: r.score)


def bands(runs: Runs, value: Callable[[Round], float]) -> pd.DataFrame:
    """Return mean and t-interval over seeds of ``value(round)``: strategy, labeled, mean, low, high, n (above 0)."""
    parts = []
    for strategy in runs.strategies:
        band = mean_band(runs.table(strategy, value))
        part = pd.DataFrame({"labeled": runs.budgets, **band._asdict()})
        part.insert(0, "strategy", strategy)
        parts.append(part[part["n"] > 0])
    columns = ["strategy", "labeled", "mean", "low", "high", "n"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def cost_table(runs: Runs) -> pd.DataFrame:
    """Return scores against machine time: strategy, labeled, seconds, mean, low, high, n.

    ``seconds`` is what it took to have the model of that round, mean over seeds: all trainings up to its own, and
    the queries (acquisition model, scoring, selection) before it. Seeds that did not note a time are left out.
    """
    parts = []
    for strategy in runs.strategies:
        spent = np.full((len(runs.seeds), len(runs.budgets)), np.nan)
        for run in runs.of(strategy):
            before = 0.0
            for number, r in enumerate(run.rounds):
                if r.number != number:  # nobody knows what the missing round took
                    before = math.nan
                where = runs.seeds.index(run.seed), int(np.searchsorted(runs.budgets, len(r.labeled)))
                spent[where] = before + r.seconds["train"]
                before += sum(r.seconds[part] for part in SECONDS)
        scores = np.where(np.isnan(spent), np.nan, runs.scores(strategy))
        band = mean_band(scores)
        measured = band.n > 0
        part = pd.DataFrame({"labeled": runs.budgets, **band._asdict()})[measured]
        seconds = np.where(np.isnan(scores), np.nan, spent)[:, measured]
        part.insert(0, "strategy", strategy)
        part.insert(2, "seconds", np.nanmean(seconds, axis=0) if seconds.size else [])
        parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def area_budgets(runs: Runs) -> np.ndarray:
    """Return the budgets that areas are over, (K,): those at which every strategy has been that has a finished run.

    Where none is finished: all, if any run has all; else those every strategy has been at.
    """
    every = runs.budgets
    done = [name for name in runs.strategies if any(run.finished for run in runs.of(name))]
    if not done and any(len(run.rounds) == len(every) for run in runs.runs):
        return every
    shared = [(~np.isnan(runs.scores(strategy))).any(0) for strategy in done or runs.strategies]
    return every[np.logical_and.reduce(shared)] if shared else every


def areas(runs: Runs) -> dict[str, np.ndarray]:
    """Return the AUBC of each strategy by seed (as ``runs.seeds``), NaN for runs without all `area_budgets`."""
    budgets = area_budgets(runs)
    where = np.isin(runs.budgets, budgets)
    if not len(budgets):
        return {strategy: np.full(len(runs.seeds), np.nan) for strategy in runs.strategies}
    return {strategy: aubc(budgets, runs.scores(strategy)[:, where]) for strategy in runs.strategies}


def area_table(runs: Runs) -> pd.DataFrame:
    """Return the AUBC: strategy, mean, low, high, n."""
    rows = []
    for strategy, values in areas(runs).items():
        band = mean_band(values[:, None])
        rows.append((strategy, *(float(part[0]) for part in band[:3]), int(band.n[0])))
    return pd.DataFrame(rows, columns=["strategy", "mean", "low", "high", "n"])


def difference_table(runs: Runs, random: str) -> pd.DataFrame:
    """Return paired differences from Random, at each budget and of the AUBC.

    Returns:
        strategy, at ("AUBC", or the number of labeled images), mean, low, high, t, p (of the paired t-test),
        p_holm (adjusted over the strategies at that budget), p_sign_flip, p_smallest (that the sign-flip test can
        reach with n seeds), n. Without budgets where nothing differs as all strategies share the model.
    """
    others = [strategy for strategy in runs.strategies if strategy != random]
    area = areas(runs)
    at: list[tuple[str | int, dict[str, np.ndarray]]] = [("AUBC", area)]
    for column, budget in enumerate(runs.budgets.tolist()):
        at.append((budget, {strategy: runs.scores(strategy)[:, column] for strategy in runs.strategies}))
    rows = []
    for where, values in at:
        tests = {strategy: paired_difference(values[strategy], values[random]) for strategy in others}
        apart = [np.abs(values[strategy] - values[random]) for strategy in others]
        if where != "AUBC" and not np.nansum(apart):
            continue
        adjusted = holm([test.p for test in tests.values()])
        for (strategy, test), p in zip(tests.items(), adjusted, strict=True):
            if test.n:
                exact = sign_flip_p(values[strategy] - values[random])
                row = {"strategy": strategy, "at": where, **test._asdict()}
                rows.append(row | {"p_holm": p, "p_sign_flip": exact, "p_smallest": smallest_p(test.n)})
    columns = ["strategy", "at", "mean", "low", "high", "t", "p", "p_holm", "p_sign_flip", "p_smallest", "n"]
    return pd.DataFrame(rows, columns=columns)


def penalties(runs: Runs) -> pd.DataFrame:
    """Return the pairwise penalty matrix, see `penalty_matrix`."""
    return penalty_matrix({strategy: runs.scores(strategy) for strategy in runs.strategies})


def full_score(runs: Runs) -> float:
    """Return the mean score of the models trained on the whole pool; NaN without one, and of several experiments."""
    by_experiment = full_scores(runs)
    return next(iter(by_experiment.values())) if len(by_experiment) == 1 else math.nan


def full_scores(runs: Runs) -> dict[str, float]:
    """Return the mean score of the models trained on the whole pool, by the name of their runs, where there is one."""
    scores: dict[str, list[float]] = {}
    for run in runs.full:
        if not math.isnan(run.rounds[0].score):
            scores.setdefault(run.strategy, []).append(run.rounds[0].score)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def reached_levels(runs: Runs, levels: Sequence[float] = ()) -> dict[str, float]:
    """Return the scores to reach by what they are called: 90 % and 95 % of the full data's, where known, and `levels`.

    Raises:
        UserError: a level that is not in [0, 1].
    """
    for level in levels:
        if not 0 <= level <= 1:
            raise UserError(f"--levels are scores from 0 to 1, as 0.45, not {level:g}")
    full = full_score(runs)
    named = {} if math.isnan(full) else {f"{share} % of full": share / 100 * full for share in (90, 95)}
    return named | {f"{100 * level:g} %": float(level) for level in levels}


Needed = Mapping[tuple[str, str], tuple[ReachedInterval, SavingInterval | None]]


def labels_needed(runs: Runs, levels: Mapping[str, float], random: str | None, resamples: int = 10_000) -> Needed:
    """Return labels to reach each level and the saving against Random, by level and strategy.

    All bootstraps draw the same resamples of seeds, so a report repeats bit for bit. None for the saving of Random
    and without it.
    """
    needed = {}
    for name, level in levels.items():
        for strategy in runs.strategies:
            scores, saving = runs.scores(strategy), None
            reached = bootstrap_reached(runs.budgets, scores, level, np.random.default_rng(0), resamples)
            if random is not None and strategy != random:
                rng = np.random.default_rng(0)
                saving = bootstrap_savings(runs.budgets, scores, runs.scores(random), level, rng, resamples)
            needed[name, strategy] = reached, saving
    return needed


def labels_needed_table(needed: Needed, levels: Mapping[str, float]) -> pd.DataFrame:
    """Return `labels_needed` as numbers: a bound stands in the column after its number ("<=", ">", ">=")."""
    rows = []
    for (name, strategy), (reached, saving) in needed.items():
        row = {"strategy": strategy, "level": name, "score": levels[name]}
        for part in ("estimate", "low", "high"):
            end = asdict(getattr(reached, part))
            suffix = "" if part == "estimate" else f"_{part}"
            row |= {f"labels{suffix}": end["labels"], f"labels{suffix}_bound": end["censored"]}
        row["n"] = reached.n
        if saving is not None:
            row |= {"saving": saving.estimate.value, "saving_bound": saving.estimate.bound}
            row |= {"saving_low": saving.low, "saving_high": saving.high, "saving_n": saving.n}
        rows.append(row)
    return pd.DataFrame(rows)


def class_table(runs: Runs) -> pd.DataFrame:
    """Return the scores of each class: class, strategy, labeled, mean, low, high, n; none of a class never measured."""
    names = dict.fromkeys(name for run in runs.runs for r in run.rounds for name in r.classes)
    parts = []
    for name in names:

        def score(r: Round, name: str = name) -> float:
            return r.classes.get(name, math.nan)

        part = bands(runs, score)
        part.insert(0, "class", name)
        parts.append(part)
    columns = ["class", "strategy", "labeled", "mean", "low", "high", "n"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
