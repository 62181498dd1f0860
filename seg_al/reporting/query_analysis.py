"""Numbers of a report about what was queried: classes, overlaps, redundancy, sequences. Tables in long form."""

from __future__ import annotations

import math
import re
from itertools import combinations

import numpy as np
import pandas as pd

from seg_al.config import UserError
from seg_al.reporting.analysis import bands
from seg_al.reporting.runs import Round, Run, Runs
from seg_al.reporting.statistics import jaccard, mean_band

POOL = "pool"
"""Name of the whole pool among the rows of `class_shares`."""


def class_shares(runs: Runs) -> pd.DataFrame:
    """Return what share of everything that a strategy queried, in all rounds, is of each class.

    Returns:
        of (a strategy, or `POOL` where the pool's classes are known), class, pixels (share of the labeled pixels,
        mean over seeds), low, high (95 % over seeds), images (share of the images that show the class), n.
        Without runs that noted no classes.
    """
    names = dict.fromkeys(
        [
            *runs.pool.get("pixels", ()),
            *(name for run in runs.runs for r in run.rounds if r.query for name in r.query.pixels),
        ]
    )
    rows = []
    if sum(runs.pool.get("pixels", {}).values()):
        pixels, images = runs.pool["pixels"], runs.pool["images"]
        total, size = sum(pixels.values()), runs.pool["size"]
        rows += [
            (POOL, name, pixels.get(name, 0) / total, math.nan, math.nan, images.get(name, 0) / size, 0)
            for name in names
        ]
    for strategy in runs.strategies:
        shares = []
        for run in runs.of(strategy):
            noted = [r.query for r in run.rounds if r.query and r.query.pixels]
            pixels, images = (
                np.array([sum(getattr(query, what).get(name, 0) for query in noted) for name in names], float)
                for what in ("pixels", "images")
            )
            if pixels.sum():
                shares.append((pixels / pixels.sum(), images / sum(len(query.ids) for query in noted)))
        if shares:
            of_pixels, of_images = (np.array(part) for part in zip(*shares, strict=True))
            band = mean_band(of_pixels)
            for k, name in enumerate(names):
                row = (band.mean[k], band.low[k], band.high[k], of_images[:, k].mean(), len(shares))
                rows.append((strategy, name, *row))
    return pd.DataFrame(rows, columns=["of", "class", "pixels", "low", "high", "images", "n"])


def representation(shares: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return how many times more often a class was queried than it is in `reference` (the pool, or Random's queries).

    Returns:
        Ratios of shares of pixels, classes as rows and strategies as columns; NaN for classes the reference lacks.
    """
    wide = shares.pivot(index="class", columns="of", values="pixels")
    wide = wide.loc[list(dict.fromkeys(shares["class"])), list(dict.fromkeys(shares["of"]))]
    base = wide[reference].where(wide[reference] > 0)
    return wide.drop(columns=reference).div(base, axis=0)


def overlap_matrix(runs: Runs) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return how much queries overlap: Jaccard indices in [0, 1], and how many pairs of runs each is a mean over.

    Off the diagonal: of two strategies with the same seed, mean over seeds. On the diagonal: of two seeds of one
    strategy, mean over pairs. Each is of all that was queried in the rounds that both runs have done; NaN without.
    """
    names = list(runs.strategies)
    overlap = pd.DataFrame(np.nan, index=names, columns=names)
    pairs = pd.DataFrame(0, index=names, columns=names)
    for a in names:
        for b in names:
            if a == b:
                couples = list(combinations(runs.of(a), 2))
            else:
                couples = [(one, two) for one in runs.of(a) for two in runs.of(b) if one.seed == two.seed]
            values = [value for one, two in couples if not math.isnan(value := _overlap(one, two))]
            pairs.loc[a, b] = len(values)
            overlap.loc[a, b] = float(np.mean(values)) if values else np.nan
    return overlap, pairs


def _overlap(one: Run, two: Run) -> float:
    queries = [{r.number: r.query.ids for r in run.rounds if r.query} for run in (one, two)]
    both = queries[0].keys() & queries[1].keys()
    return jaccard(*([name for number in both for name in query[number]] for query in queries))


def redundancy_table(runs: Runs) -> pd.DataFrame:
    """Return how alike the images of each query are: strategy, labeled (before it), mean, low, high, n."""
    return bands(runs, lambda r: r.query.redundancy if r.query else math.nan)


def new_sequence_table(runs: Runs, pattern: str) -> pd.DataFrame:
    """Return what share of each query is from sequences of which nothing was labeled before.

    Args:
        pattern: regular expression; what it matches at the start of an id names the sequence.

    Returns:
        strategy, labeled (before the query), mean, low, high, n.

    Raises:
        UserError: no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--sequence {pattern!r} is no regular expression: {error}") from None

    def sequence(name: str) -> str:
        match = compiled.match(name)
        return match[0] if match else name

    def share(r: Round) -> float:
        if not r.query or not r.query.ids:
            return math.nan
        known = {sequence(name) for name in r.labeled}
        return float(np.mean([sequence(name) not in known for name in r.query.ids]))

    return bands(runs, share)


def reference_of(shares: pd.DataFrame, random: str | None) -> str | None:
    """Return what classes are compared with: the pool, or Random's queries, or None."""
    known = set(shares["of"])
    return next((name for name in (POOL, random) if name in known), None)
