"""What a report says: sections of text, figures and tables, made of the numbers of the analyses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seg_al.reporting import figures
from seg_al.reporting.analysis import (
    area_budgets,
    area_table,
    class_table,
    cost_table,
    curve_table,
    difference_table,
    full_score,
    full_scores,
    labels_needed,
    labels_needed_table,
    penalties,
    reached_levels,
)
from seg_al.reporting.query_analysis import (
    POOL,
    class_shares,
    new_sequence_table,
    overlap_matrix,
    redundancy_table,
    reference_of,
    representation,
)
from seg_al.reporting.run_analysis import (
    diagnostics_table,
    problem_table,
    seconds_saved,
    settings_apart,
    time_table,
)
from seg_al.reporting.runs import PHASES, Runs
from seg_al.reporting.tables import MISSING, Table, interval, number, p_value

_VAAL = {
    "active_units": "active latent units",
    "auc": "AUC of D",
    "score_std": "std of D",
    "mse_over_variance": "MSE / variance",
    "kl": "KL (nats)",
    "discriminator_loss": "loss of D",
}


@dataclass(frozen=True)
class Part:
    """A section of a report before it is written: figures and tables go by the names of their files."""

    title: str
    text: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Sequence[Table] = ()


def make_parts(runs: Runs, random: str | None, levels: Sequence[float] = (), sequence: str = "") -> list[Part]:
    """Return the sections for these runs; those without anything to show are left out.

    Args:
        runs: at least one usable run or upper bound.
        random: strategy to compare with, None without one.
        levels: scores to reach, besides 90 % and 95 % of the full data's.
        sequence: regular expression of what names a sequence, at the start of ids; the study's where empty.

    Raises:
        UserError: a level that is no score, or no regular expression.
    """
    parts = [_overview(runs, random)]
    if runs.runs:
        parts += [
            _curves(runs),
            _areas(runs, random),
            _needed(runs, random, levels),
            _differences(runs, random),
            _pairs(runs),
            _classes(runs),
            _queried(runs, random),
            _overlaps(runs),
            _sequences(runs, sequence or runs.sequence),
            _times(runs),
            _vaal(runs),
        ]
    return [replace(part, text=part.text.strip()) for part in parts if part.text or part.figures or part.tables]


def _overview(runs: Runs, random: str | None) -> Part:
    lines = [
        f"Strategies: {', '.join(runs.strategies) or 'none yet'}. Seeds: {', '.join(map(str, runs.seeds)) or MISSING}."
    ]
    if runs.runs:
        lines.append(f"Metric: test {runs.metric}, at {_list(runs.budgets)} labeled images.")
    if not math.isnan(full_score(runs)):
        count = f"{len(runs.full)} run{'s' * (len(runs.full) > 1)}"
        lines.append(f"With the whole pool labeled: {100 * full_score(runs):.1f} % ({count}).")
    elif several := full_scores(runs):
        each = ", ".join(f"{name} {100 * score:.1f} %" for name, score in several.items())
        lines.append(f"With the whole pool labeled: {each}. These are not one upper bound, so none is used.")
    if runs.runs and random is None:
        lines.append("No strategy is known to be Random (name it with --random), so nothing is compared with it.")
    if len(runs.seeds) == 1:
        lines.append("One seed: no interval and no test can be given, and differences may be chance.")
    elif 1 < len(runs.seeds) < 6:
        lines.append(f"With {len(runs.seeds)} seeds, no exact test of signs can reach p < 0.05: that takes 6.")
    fewer = [name for name in runs.strategies if len(runs.of(name)) < len(runs.seeds)]
    if fewer:
        counts = ", ".join(f"{name} {len(runs.of(name))} of {len(runs.seeds)}" for name in fewer)
        lines.append(f"Not all seeds have results: {counts}. Where a number rests on fewer, (n=...) says on how many.")
    if apart := settings_apart(runs):
        more = f", and {len(apart) - 5} more" if len(apart) > 5 else ""
        lines.append(
            "Runs differ in more than strategy and seed, and differences may be due to that: "
            f"{'; '.join(apart[:5])}{more}."
        )
    saved, spent = seconds_saved(runs)
    if saved:
        lines.append(f"First rounds took {spent:,.0f} s and were shared by all strategies, which saved {saved:,.0f} s.")
    problems = problem_table(runs)
    tables = []
    if len(problems):
        are = "run is not complete; it is" if len(problems) == 1 else "runs are not complete; they are"
        lines.append(f"{len(problems)} {are} listed below.")
        shown = problems.assign(seed=problems["seed"].map(str))[["run", "seed", "status"]]
        tables.append(Table("incomplete", "Runs that are not complete.", problems, shown))
    else:
        lines.append("All runs are complete.")
    return Part("Overview", "\n".join(f"- {line}" for line in lines), tables=tables)


def _curves(runs: Runs) -> Part:
    curves, costs = curve_table(runs), cost_table(runs)
    if not len(curves):
        return Part("", "")
    seeds = _seeds(runs)
    full = full_score(runs)
    ylabel = f"test {runs.metric} (%)"
    level = (full, "all labeled")
    shown = {"learning_curves": figures.plot_bands(curves, runs.strategies, seeds, ylabel, level=level)}
    caption = f"Test {runs.metric} in %, mean over seeds ± half the 95 % interval (t), by number of labeled images."
    tables = [Table("learning_curves", caption, curves, _wide(curves, runs, _score_cell(runs)))]
    text = "Mean over seeds and 95 % interval (t-distribution); very wide intervals go beyond the figure. "
    if len(costs):
        shown["cost_curves"] = figures.plot_bands(
            costs, runs.strategies, seeds, ylabel, x="seconds", xlabel="machine time (s)", level=level
        )
        text += (
            "Machine time is what it took to have that round's model: all trainings so far, and the acquisition "
            "models, scoring and selection of the queries before; mean over seeds."
        )
        grid = costs.assign(cell=[f"{s:,.0f}" + _n(n, runs) for s, n in zip(costs["seconds"], costs["n"], strict=True)])
        caption = "Machine time in s until the model of that round is trained, mean over seeds."
        tables.append(Table("cost_curves", caption, costs, _wide(grid, runs, lambda row: str(row["cell"]))))
    return Part("Learning curves", text, shown, tables)


def _areas(runs: Runs, random: str | None) -> Part:
    table, budgets = area_table(runs), area_budgets(runs)
    if table["mean"].isna().all():
        few = len(budgets) < 2 < len(runs.budgets)
        return Part("AUBC", "No area can be given: the strategies share fewer than two budgets." if few else "")
    # best first, those without a number last
    table = table.iloc[np.argsort(-table["mean"].to_numpy(), kind="stable")].reset_index(drop=True)
    caption = (
        f"AUBC in %: area under the learning curve from {budgets[0]} to {budgets[-1]} labeled images, divided by that "
        "range; mean over seeds ± half the 95 % interval (t). "
    )
    if len(budgets) < len(runs.budgets):
        caption += f"Over the budgets that all have: {_list(budgets)}. "
    if table["mean"].isna().any():
        caption += f"{MISSING}: no run has a score at all {len(budgets)} budgets. "
    data, rows = table, []
    tests = pd.DataFrame()
    if random is not None:
        tests = difference_table(runs, random).query("at == 'AUBC'").drop(columns="at")
        data = table.merge(tests, on="strategy", how="left", suffixes=("", "_difference"))
        caption += (
            f"Difference from {random}, paired by seed, and its tests: paired t, the same adjusted after Holm over all "
            f"strategies of this table, and the exact sign-flip test with the least p that so many seeds can reach."
        )
    for row in data.to_dict("records"):
        cells = {"strategy": row["strategy"], "AUBC": _cell(row, runs)}
        if random is not None:
            n = row["n_difference"]
            known = not (row["strategy"] == random or math.isnan(n))
            cells |= {
                f"− {random}": interval(
                    row["mean_difference"], row["low_difference"], row["high_difference"], sign=True
                )
                + (_n(int(n), runs) if known else ""),
                "p": p_value(row["p"]),
                "p (Holm)": p_value(row["p_holm"]),
                "p (sign flip)": p_value(row["p_sign_flip"]),
                "least p": p_value(row["p_smallest"]),
            }
        rows.append(cells)
    drawn = {}
    if len(tests) and tests["low"].notna().any():
        label = f"AUBC − that of {random} (points)"
        order = table["strategy"].tolist()
        ordered = tests.sort_values("strategy", key=lambda names: names.map(order.index))
        drawn["aubc_differences"] = figures.plot_intervals(ordered, runs.strategies, label)
    text = "The mean score over the budgets: the one number to compare strategies by."
    return Part("AUBC", text, drawn, [Table("aubc", caption, data, pd.DataFrame(rows))])


def _needed(runs: Runs, random: str | None, levels: Sequence[float]) -> Part:
    named = reached_levels(runs, levels)
    if not named:
        return Part("Labels needed", "")
    needed = labels_needed(runs, named, random)
    rows = []
    for strategy in runs.strategies:
        cells = {"strategy": strategy}
        for name, level in named.items():
            reached, saving = needed[name, strategy]
            head = name if name.endswith("%") else f"{name} ({100 * level:.1f} %)"
            estimate = reached.estimate if reached.n < 2 else reached
            cells[f"{head}: labels"] = f"{estimate}{_n(reached.n, runs)}"
            if random is not None:
                text = MISSING if saving is None else str(saving if saving.n > 1 else saving.estimate)
                cells[f"{head}: saved"] = text.replace("-", "−") + (_n(saving.n, runs) if saving else "")
        rows.append(cells)
    against = f" Saved: share of {random}'s labels that are not needed." if random else ""
    caption = (
        "Labeled images needed to reach a score, on the isotonic fit of the mean curve, linear between budgets, with "
        f"95 % intervals by bootstrap over paired seeds (10,000 resamples).{against} ≤ and >: reached before the first "
        "or not by the last budget; open: the budgets do not bound it."
    )
    text = "Bounds stay bounds: nothing is extrapolated beyond the budgets that were measured."
    if runs.full:
        text += " The full-data score is the mean of its runs and taken as given: its own uncertainty is not included."
    return Part(
        "Labels needed",
        text,
        {},
        [Table("labels_needed", caption, labels_needed_table(needed, named), pd.DataFrame(rows))],
    )


def _differences(runs: Runs, random: str | None) -> Part:
    if random is None:
        return Part("", "")
    table = difference_table(runs, random).query("at != 'AUBC'").rename(columns={"at": "labeled"})
    if not len(table):
        return Part("", "")

    def cell(row: Mapping[str, float]) -> str:
        star = "*" if row["p_holm"] < 0.05 else ""
        return interval(row["mean"], row["low"], row["high"], sign=True) + star + _n(int(row["n"]), runs)

    caption = (
        f"Test {runs.metric} less that of {random} with the same seed, in percentage points: mean ± half the 95 % "
        "interval (t). Holm's correction is over the strategies at one budget, as one family each, and not over "
        "budgets; the AUBC is a family of its own. "
    )
    tests = pd.DataFrame(
        {
            "strategy": table["strategy"],
            "labeled": table["labeled"].map(str),
            "difference": [
                interval(mean, low, high, sign=True)
                for mean, low, high in zip(table["mean"], table["low"], table["high"], strict=True)
            ],
            "p": table["p"].map(p_value),
            "p (Holm)": table["p_holm"].map(p_value),
            "p (sign flip)": table["p_sign_flip"].map(p_value),
            "least p": table["p_smallest"].map(p_value),
            "seeds": table["n"].map(str),
        }
    )
    tables = [
        Table("differences", caption + "*: adjusted p < 0.05.", table, _wide(table, runs, cell)),
        Table(
            "difference_tests",
            caption + "Tests: paired t; the same adjusted; exact sign-flip, with the least p that so many seeds reach.",
            table,
            tests,
        ),
    ]
    text = f"Strategies share each seed's start, so they are compared with {random} seed by seed."
    others = [name for name in runs.strategies if name in set(table["strategy"])]
    drawn = figures.plot_panels(
        table, "strategy", others, runs.strategies, _seeds(runs),
        ylabel="points", scale=100, band=True, sharey=True, level=0.0,
    )  # fmt: skip
    return Part(f"Differences from {random}", text, {"differences": drawn}, tables)


def _pairs(runs: Runs) -> Part:
    if len(runs.strategies) < 2:
        return Part("", "")
    matrix = penalties(runs)
    if matrix.where(~np.eye(len(matrix), dtype=bool)).isna().all(axis=None):
        return Part("", "")
    caption = (
        "Pairwise penalty matrix: share of the budgets after the first at which the strategy of the row is better than "
        "that of the column (paired t-test over seeds, p < 0.05, not adjusted); none where only one of them has been. "
        "Low column means are good."
    )
    shown = matrix.map(lambda value: number(value, 2)).rename_axis("strategy").reset_index()
    data = matrix.rename_axis("strategy").reset_index()
    figure = figures.plot_matrix(
        matrix.where(~np.eye(len(matrix), dtype=bool)), "share of budgets: row better than column", totals=True
    )
    text = "How often each strategy beats each other one."
    return Part(
        "Pairwise comparison", text, {"penalty_matrix": figure}, [Table("penalty_matrix", caption, data, shown)]
    )


def _classes(runs: Runs) -> Part:
    table = class_table(runs)
    if table["mean"].isna().all():
        return Part("", "")
    names = dict.fromkeys(name for run in runs.runs for r in run.rounds for name in r.classes)
    measured = [name for name in names if name in set(table["class"])]
    absent = [name for name in names if name not in measured]
    been = [set(part["labeled"]) for _, part in table.groupby("strategy")]
    last = max(set.intersection(*been), default=min(map(max, been)))  # the last that all strategies have been at
    at = table[table["labeled"] == last]
    rows = []
    for name in measured:
        cells = {"class": name}
        for row in at[at["class"] == name].to_dict("records"):
            cells[row["strategy"]] = _cell(row, runs)
        rows.append(cells)
    text = f"Score of each class against labeled images, mean over seeds; the table is at {last} labeled images. "
    if absent:
        text += f"Never in the test labels or predictions, so without a score: {', '.join(absent)}. "
    drawn = measured
    if len(measured) > figures.PANELS:
        spread = at.groupby("class")["mean"].agg(lambda values: values.max() - values.min())
        most = set(spread.sort_values(ascending=False, kind="stable").index[: figures.PANELS])
        drawn = [name for name in measured if name in most]
        text += f"Drawn are the {figures.PANELS} of {len(measured)} classes in which the strategies differ most. "
    shown = {}
    if drawn:
        label = f"{'IoU' if runs.metric == 'mIoU' else 'score'} (%)"
        shown["classes"] = figures.plot_panels(
            table, "class", drawn, runs.strategies, _seeds(runs), ylabel=label, scale=100
        )
    caption = f"Score of each class in % at {last} labeled images, mean over seeds ± half the 95 % interval (t)."
    columns = ["class", *runs.strategies]
    frame = pd.DataFrame(rows, columns=columns).fillna(MISSING)
    return Part("Classes", text, shown, [Table("classes", caption, table, frame)])


def _queried(runs: Runs, random: str | None) -> Part:
    shares = class_shares(runs)
    redundancy = redundancy_table(runs)
    shown, tables, text = {}, [], []
    if set(shares["of"]) - {POOL}:
        what = "pixels" if runs.metric == "mIoU" else "labels"
        reference = reference_of(shares, random)
        wide = shares.pivot(index="class", columns="of", values="pixels")
        wide = wide.loc[list(dict.fromkeys(shares["class"])), list(dict.fromkeys(shares["of"]))]
        frame = wide.map(lambda value: number(100 * value, 2)).reset_index()
        caption = f"Share of each class in the {what} that were queried, in %, mean over seeds, all rounds together."
        tables.append(Table("queried_classes", caption, shares, frame))
        if reference is not None and set(shares["of"]) != {reference}:
            whose = "in the pool" if reference == POOL else f"in {reference}'s queries"
            ratios = representation(shares, reference).dropna(how="all")
            if len(ratios) > figures.PANELS:
                far = np.log2(ratios.clip(lower=1e-3)).abs().max(axis=1)
                keep = set(far.sort_values(ascending=False, kind="stable").index[: figures.PANELS])
                text.append(
                    f"Drawn are the {figures.PANELS} of {len(ratios)} classes farthest from their share {whose}."
                )
                ratios = ratios.loc[[name for name in ratios.index if name in keep]]
            if (ratios == 0).any(axis=None):
                text.append("Classes of which nothing was queried stand at the left edge.")
            label = f"share of queried {what} / share {whose}"
            shown["queried_classes"] = figures.plot_ratios(ratios, runs.strategies, label)
            text.insert(
                0, f"Which classes the queries hold, against their share {whose}: right of 1 is more than there."
            )
    if redundancy["mean"].notna().any():
        shown["redundancy"] = figures.plot_bands(
            redundancy, runs.strategies, _seeds(runs), "redundancy", xlabel="labeled images before the query", scale=1
        )
        caption = (
            "Redundancy of the queries: mean over the images of the greatest correlation with another one of the same "
            "query (thumbnails), by labeled images before the query; mean over seeds."
        )
        known = redundancy[redundancy["mean"].notna()]
        frame = _wide(
            known, runs, lambda row: interval(row["mean"], row["low"], row["high"], 1, 3) + _n(int(row["n"]), runs)
        )
        tables.append(Table("redundancy", caption, known, frame))
        text.append("Redundancy near 1 means near-duplicates within a query.")
    return Part("Queries", " ".join(text), shown, tables)


def _overlaps(runs: Runs) -> Part:
    matrix, pairs = overlap_matrix(runs)
    if matrix.isna().all(axis=None):
        return Part("", "")
    caption = (
        "Overlap of what was queried (Jaccard index). Between strategies with the same seed, mean over seeds; on the "
        "diagonal between two seeds of one strategy, mean over pairs."
    )
    rows = [(a, b, matrix.loc[a, b], pairs.loc[a, b]) for k, a in enumerate(matrix.index) for b in matrix.columns[k:]]
    data = pd.DataFrame(rows, columns=["strategy", "other", "jaccard", "pairs"])
    shown = matrix.map(lambda value: number(value, 3)).rename_axis("strategy").reset_index()
    figure = figures.plot_matrix(matrix, "Jaccard index of what was queried")
    text = (
        "1 is the same images, 0 none in common. Off the diagonal two strategies with the same seed; on it two seeds "
        "of one strategy, which start from other images. Random's diagonal is what chance gives."
    )
    return Part("Overlap of queries", text, {"overlap": figure}, [Table("overlap", caption, data, shown)])


def _sequences(runs: Runs, pattern: str) -> Part:
    if not pattern:
        return Part("", "")
    table = new_sequence_table(runs, pattern)
    table = table[table["mean"].notna()]
    if not len(table):
        return Part("", "")
    caption = (
        "Share of each query, in %, from sequences of which no image was labeled before, by labeled images before "
        f"the query; mean over seeds ± half the 95 % interval (t). A sequence is what {pattern} matches at the start "
        "of an id."
    )
    figure = figures.plot_bands(
        table, runs.strategies, _seeds(runs), "from new sequences (%)", xlabel="labeled images before the query"
    )
    text = "How much of each query comes from sequences that were new to the labeled set."
    return Part(
        "New sequences",
        text,
        {"new_sequences": figure},
        [Table("new_sequences", caption, table, _wide(table, runs, _score_cell(runs)))],
    )


def _times(runs: Runs) -> Part:
    table = time_table(runs)
    if table[list(PHASES)].isna().all(axis=None):
        return Part("", "")
    frame = table[["strategy", *PHASES]].assign(**{phase: table[phase].map(_seconds) for phase in PHASES})
    frame["sum"] = table[list(PHASES)].sum(axis=1, min_count=1).map(_seconds)
    caption = "Seconds of a round by phase, mean over seeds and rounds; of a query's phases over rounds with a query."
    text = "Time of a round by phase. Rounds shared from another run count with the time they took there."
    return Part("Time", text, {"time": figures.plot_times(table)}, [Table("time", caption, table, frame)])


def _vaal(runs: Runs) -> Part:
    table = diagnostics_table(runs)
    table = table[table["n"] > 0]
    if not len(table):
        return Part("", "")
    panels = [name for name in _VAAL if name in set(table["diagnostic"])]
    shown = {}
    if panels:
        shown["vaal"] = figures.plot_panels(
            table, "diagnostic", panels, runs.strategies, _seeds(runs), titles=_VAAL, band=True
        )
    rows = [
        {
            "strategy": row["strategy"],
            "diagnostic": row["diagnostic"],
            "labeled": str(row["labeled"]),
            "value": f"{row['mean']:.4g}".replace("-", "−") + _n(int(row["n"]), runs),
        }
        for row in table.to_dict("records")
    ]
    frame = pd.DataFrame(rows).pivot(index=["strategy", "diagnostic"], columns="labeled", values="value")
    order = sorted(frame.columns, key=int)
    frame = frame[order].fillna(MISSING).reset_index().rename_axis(columns=None)
    caption = "Diagnostics of VAAL's acquisition model by labeled images, mean over seeds."
    text = (
        "Whether VAAL's parts work: latent units in use, how well the discriminator D tells labeled from unlabeled "
        "(AUC 0.5 is chance), how much its output varies, and the reconstruction error against the images' variance "
        "(1 is no better than the mean image)."
    )
    return Part("VAAL", text, shown, [Table("vaal", caption, table, frame)])


def _wide(table: pd.DataFrame, runs: Runs, cell: Callable[[Mapping[str, float]], str]) -> pd.DataFrame:
    """Return a row a strategy and a column a number of labeled images, of text."""
    counts = sorted(set(table["labeled"]))
    cells = {(row["strategy"], row["labeled"]): cell(row) for row in table.to_dict("records")}
    names = [name for name in runs.strategies if name in set(table["strategy"])]
    rows = [[name, *(cells.get((name, count), MISSING) for count in counts)] for name in names]
    return pd.DataFrame(rows, columns=["strategy", *map(str, counts)])


def _score_cell(runs: Runs) -> Callable[[Mapping[str, float]], str]:
    return lambda row: _cell(row, runs)


def _cell(row: Mapping[str, float], runs: Runs) -> str:
    return interval(row["mean"], row["low"], row["high"]) + (_n(int(row["n"]), runs) if row["n"] else "")


def _n(n: int, runs: Runs) -> str:
    """Return how many seeds a number rests on, where that is not all."""
    return f" (n={n})" if 0 < n < len(runs.seeds) else ""


def _seeds(runs: Runs) -> dict[str, int]:
    return {strategy: len(runs.of(strategy)) for strategy in runs.strategies}


def _seconds(value: float) -> str:
    return number(value, 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2)


def _list(values: np.ndarray) -> str:
    texts = [f"{value:,}" for value in values.tolist()]
    return ", ".join(texts[:-1]) + " and " + texts[-1] if len(texts) > 1 else texts[0]
