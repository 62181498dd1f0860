"""Asking for labels: which images of a pool of one's own come next, and what a person needs to label them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from seg_al.annotation.base import AnnotationFormat, ToAnnotate
from seg_al.annotation.importing import Imported, import_masks
from seg_al.annotation.masks import save_mask
from seg_al.config import UserError, components, source
from seg_al.data.files import FileSamples, find_root
from seg_al.data.images import image_size
from seg_al.data.views import to_input
from seg_al.extrapolation import Forecast, extrapolate
from seg_al.guards import Guards, Skipped
from seg_al.own_pool import Fitted, OwnPool, State, locked, read_history
from seg_al.reporting.files import write_atomically
from seg_al.reporting.query_sheet import write_sheet
from seg_al.round import Round
from seg_al.run_directory import as_json
from seg_al.strategies.base import ScoreStrategy, Strategy
from seg_al.strategies.features import FrozenFeatures
from seg_al.strategies.random import Random
from seg_al.streams import generator

OVERSAMPLE = 4
"""Picks asked of a strategy for each image wanted, where guards may leave some out."""


@dataclass(frozen=True)
class Pick:
    """One image asked for."""

    index: int
    score: float
    """The strategy's, NaN without one."""

    why: str


@dataclass(frozen=True)
class Query:
    """A query on disk, ``queries/<number>``."""

    path: Path

    @property
    def number(self) -> int:
        """1 for the first."""
        return int(self.path.name)

    @property
    def rows(self) -> list[dict[str, str]]:
        """Rank, id, file, score and why of each image, best first."""
        with open(self.path / "query.csv", newline="", encoding="utf-8") as table:
            return list(csv.DictReader(table))

    @property
    def ids(self) -> list[str]:
        """What is asked for, best first."""
        return [row["id"] for row in self.rows]

    @property
    def key(self) -> str:
        """Names what the query was made from."""
        return json.loads((self.path / "state.json").read_text(encoding="utf-8"))["key"]

    def _repr_html_(self) -> str:
        """Return the contact sheet for a notebook."""
        return (self.path / "query.html").read_text(encoding="utf-8")


def queries(pool: OwnPool) -> list[Query]:
    """Return all queries so far, in order."""
    folder = pool.directory / "queries"
    return [Query(path) for path in sorted(folder.glob("[0-9]*"), key=lambda path: int(path.name))]


def ask(pool: OwnPool, say: Callable[[str], None] = print) -> Query:
    """Train and evaluate if masks have changed, and ask for the next images; where nothing has, return the last query.

    Says what became of the last query, what the score did, and whether more labels are expected to pay.

    Raises:
        UserError: as `OwnPool.fit`; nothing left to ask for.
    """
    state = pool.scan()
    every = len(state.samples)
    say(f"{every} images: {len(state.labeled)} labeled, {len(state.excluded)} excluded")
    for part in components(pool):
        part.check_ready()
    before = queries(pool)
    if before:
        say(progress_of(before[-1], state))
    if before and before[-1].key == query_key(pool, state, before[:-1]):
        say(f"no mask has changed since: query {before[-1].path} is still the one to label")
        return before[-1]
    fitted = pool.fit(state)
    for line in verdict(pool, fitted):
        say(line)
    with locked(pool.directory):
        return _Making(pool, state, fitted, before, say).make()


def progress_of(query: Query, state: State) -> str:
    """Return how much of a query has come back, in words."""
    done, out = ({state.samples.ids[i] for i in indices} for indices in (state.labeled, state.excluded))
    ids = [name for name in query.ids if name not in out]
    missing = [name for name in ids if name not in done]
    if not missing:
        return f"query {query.path.name}: all {len(ids)} done"
    named = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
    return f"query {query.path.name}: {len(ids) - len(missing)} of {len(ids)} done, not yet {named}"


def verdict(pool: OwnPool, fitted: Fitted | None) -> list[str]:
    """Return what the score did and what more labels are expected to bring, in words."""
    if fitted is None:
        return []
    if fitted.score is None:
        return [f"evaluated on {fitted.how}"]
    name = pool.task.metric_name
    lines = [f"{name} {fitted.score:.1%} with {fitted.labeled} labeled ({fitted.how})"]
    rows = [row for row in read_history(pool.directory / "history.csv") if row["score"]]
    rows = [row for row in rows if row.get("settings") == fitted.settings]  # others cannot be compared
    if len(rows) > 1 and rows[-1]["key"] == fitted.key:
        last = rows[-2]
        lines[0] += f", {100 * (fitted.score - float(last['score'])):+.1f} points since {last['labeled']}"
    forecast = next_forecast(pool, rows)
    if forecast:
        gain = [100 * (value - fitted.score) for value in (forecast.median, forecast.low, forecast.high)]
        lines.append(
            f"{pool.budget} more labels are expected to change that by {gain[0]:+.1f} points "
            f"({gain[1]:+.1f} to {gain[2]:+.1f} in 8 of 10 cases, from {len(rows)} points of the curve)"
        )
    return lines


def next_forecast(pool: OwnPool, rows: Sequence[dict[str, str]]) -> Forecast | None:
    """Return the score to expect after one more query; None with fewer than two numbers of labels."""
    labels, scores = [int(row["labeled"]) for row in rows], [float(row["score"]) for row in rows]
    noise = float(np.median([float(row["noise"]) for row in rows])) if rows else 0.0
    wanted = [labels[-1] + pool.budget] if rows else []
    found = extrapolate(labels, scores, noise, wanted, generator(pool.seed, "forecast")) if rows else []
    return found[0] if found else None


def query_key(pool: OwnPool, state: State, before: Sequence[Query]) -> str:
    """Return a name for what a query is made from: model, strategy, rules, all images, and earlier queries."""
    parts = [pool.model_key(state), source(pool.strategy), source(pool.cold_start) if pool.cold_start else ""]
    parts.append(repr((pool.budget, pool.near_duplicate, pool.group, pool.per_group, pool.ask_again)))
    parts += [repr(sorted(state.excluded)), repr(state.wanted), *state.samples.ids]
    parts += [name for query in before for name in query.ids]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass
class _Making:
    """A query in the making."""

    pool: OwnPool
    state: State
    fitted: Fitted | None
    before: Sequence[Query]
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.number = self.before[-1].number + 1 if self.before else 1
        self.fabric = self.pool.machine.fabric(self.pool.train.precision)
        self.key = self.fitted.key if self.fitted else "cold"
        asked = {name for query in self.before for name in query.ids}
        taken = {*self.state.labeled, *self.state.excluded}
        ids = self.state.samples.ids
        self.pending = [i for i, name in enumerate(ids) if name in asked and i not in taken]
        out = taken if self.pool.ask_again else taken | set(self.pending)
        self.free = [i for i in range(len(ids)) if i not in out]

    def make(self) -> Query:
        """Choose and write the query."""
        pool, samples, say = self.pool, self.state.samples, self.say
        if not self.free:
            raise UserError(f"{pool.directory}: no image is left to ask for: all are labeled, excluded or asked for")
        known = [*self.state.labeled, *([] if pool.ask_again else self.pending)]
        guards = Guards(samples.ids, samples.image, pool.near_duplicate, pool.group, pool.per_group, known)
        free = set(self.free)
        picks = [Pick(i, float("nan"), "in include.txt") for i in self.state.wanted if i in free][: pool.budget]
        for pick in picks:
            guards.remember(pick.index)
        strategy, why = pool.strategy, type(pool.strategy).__name__
        if self.fitted is None:
            strategy, reason = cold_start(pool)
            why = f"cold start, {type(strategy).__name__}"
            say(f"nothing is labeled yet, so this is a cold start by {type(strategy).__name__}{reason}")
        picks += self.select(strategy, why, picks, guards)
        if not picks:
            left_out = f"; {guards.skipped[0].id}: {guards.skipped[0].why}" if guards.skipped else ""
            raise UserError(
                f"{pool.directory}: no image may be asked for: {len(guards.skipped)} are left out{left_out}"
            )
        if guards.skipped:
            first = guards.skipped[0]
            say(f"{len(guards.skipped)} images were left out (skipped.csv), such as {first.id}: {first.why}")
        if len(picks) < pool.budget:
            say(f"only {len(picks)} images are left to ask for, of {pool.budget}")
        query = self.write(picks, guards.skipped)
        say(f"asks for {len(picks)} images: {query.path / 'query.html'}")
        return query

    def select(self, strategy: Strategy, why: str, picks: Sequence[Pick], guards: Guards) -> list[Pick]:
        """Let the strategy choose among what is free until the budget is full, or nothing is left."""
        found: list[Pick] = []
        chosen = {pick.index for pick in picks}
        waiting = [i for i in self.free if i not in chosen]
        while waiting and len(picks) + len(found) < self.pool.budget:
            wanted = self.pool.budget - len(picks) - len(found)
            if guards.active:  # a ranking can be had whole; other strategies choose anew around what was taken
                wanted = len(waiting) if isinstance(strategy, ScoreStrategy) else OVERSAMPLE * wanted
            known = [*self.state.labeled, *(pick.index for pick in (*picks, *found))]
            selection = strategy.select(self.round(known, waiting), min(wanted, len(waiting)))
            looked_at = set()
            for position, score in zip(selection.positions.tolist(), selection.scores.tolist(), strict=True):
                if len(picks) + len(found) == self.pool.budget:
                    break
                looked_at.add(waiting[position])
                if guards.take(waiting[position]):
                    found.append(Pick(waiting[position], score, why if score != score else f"{why}: score {score:.4g}"))
            waiting = [i for i in waiting if i not in looked_at]
        return found

    def round(self, known: Sequence[int], waiting: Sequence[int]) -> Round:
        """Return what the strategy may see, where it chooses among `waiting`."""
        pool, samples = self.pool, self.state.samples
        turn = f"{self.number}-{len(waiting)}"
        models = pool.directory / "models" / self.key
        models.mkdir(parents=True, exist_ok=True)
        return Round(
            model=self.fitted.network if self.fitted else torch.nn.Identity(),
            task=pool.task,
            labeled=pool.view(samples, known),
            unlabeled=pool.view(samples, waiting),
            rng=generator(pool.seed, self.key, turn, "strategy"),
            seed=pool.seed,
            fabric=self.fabric,
            title=f"query {self.number}",
            batch_size=pool.train.evaluation_batch_size,
            workers=pool.machine.loading_workers(),
            new_phase=lambda name: pool.phase(f"{name}-{turn}", self.key, models, self.fabric),
            new_member=lambda k, again: pool.new_member(self.state, self.key, models, self.fabric, k, again),
        )

    def write(self, picks: Sequence[Pick], skipped: Sequence[Skipped]) -> Query:
        """Write the query's folder; it appears whole or not at all."""
        pool, samples = self.pool, self.state.samples
        folder = pool.directory / "queries"
        final, new = folder / f"{self.number:03d}", folder / f".{self.number:03d}.new"
        shutil.rmtree(new, ignore_errors=True)
        (new / "images").mkdir(parents=True)
        files = [Path(samples.images[pick.index]) for pick in picks]
        rows: list[Sequence[object]] = [("rank", "id", "file", "score", "why")]
        for rank, (pick, file) in enumerate(zip(picks, files, strict=True), 1):
            score = "" if pick.score != pick.score else repr(pick.score)
            rows.append((rank, samples.ids[pick.index], file, score, pick.why))
        write_table(new / "query.csv", rows)
        (new / "images.txt").write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
        if skipped:
            write_table(new / "skipped.csv", [("id", "why"), *((one.id, one.why) for one in skipped)])
        shown = []
        for rank, (pick, file) in enumerate(zip(picks, files, strict=True), 1):
            link_or_copy(file, new / "images" / f"{samples.ids[pick.index]}{file.suffix}")
            image, laid = samples.image(pick.index), None
            if self.fitted is not None:
                predicted = predict(pool, samples, self.fitted, pick.index, image.shape[:2])
                laid = pool.task.with_label(image, predicted, pool.dataset.palette)
                save_mask(new / "predictions" / f"{samples.ids[pick.index]}.png", predicted, pool.dataset.palette)
            shown.append((image, laid, f"{rank}  {samples.ids[pick.index]}\n{pick.why}"))
        title = f"{pool.directory.name}, query {self.number:03d}: {len(picks)} images"
        write_sheet(new, title, shown, pool.dataset.class_names, pool.dataset.palette)
        about = {
            "key": query_key(pool, self.state, self.before),
            "labeled": len(self.state.labeled),
            "model": self.fitted and self.fitted.key,
        }
        write_atomically(new / "state.json", as_json(about))
        os.replace(new, final)
        return Query(final)


def cold_start(pool: OwnPool) -> tuple[Strategy, str]:
    """Return the strategy of a first query, and why it is that one where it is not the usual."""
    if pool.cold_start:
        return pool.cold_start, ""
    features = FrozenFeatures(size=(224, 224))
    try:
        features.build()
    except UserError as error:
        return Random(), f" (no weights for frozen features: {error})"
    from seg_al.strategies.typiclust import TypiClust  # only a cold start waits for scikit-learn to load

    return TypiClust(features=features), " on frozen features"


def export(pool: OwnPool, query: Query, format: AnnotationFormat, folder: Path) -> list[str]:
    """Write a query for an annotation tool, with the model's predictions; return lines that say what to do with it.

    Args:
        folder: replaced where it exists; appears whole or not at all.

    Raises:
        UserError: the format cannot hold the classes or names.
    """
    state = pool.scan()
    fitted = pool.fit(state)
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    lines = format.export(to_annotate(pool, state, query, fitted), pool.dataset.class_names, pool.dataset.palette, new)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(new, folder)
    return [line.replace(str(new), str(folder)) for line in lines]


def bring_in(
    pool: OwnPool, format: AnnotationFormat, source: Path, accept_partial: bool = False, replace: bool = False
) -> Imported:
    """Bring finished work of an annotation tool into the pool's masks; see `import_masks`."""
    state, dataset = pool.scan(), pool.dataset
    masks = dataset.sources(find_root(dataset.root))["train"].masks
    return import_masks(
        format, source, state.samples, dataset.class_names, masks,
        mask_ending=dataset.mask_ending, accept_partial=accept_partial, replace=replace,
    )  # fmt: skip


def to_annotate(pool: OwnPool, state: State, query: Query, fitted: Fitted | None) -> Iterator[ToAnnotate]:
    """Yield the images of a query with the model's predictions, for an annotation tool."""
    where = {name: index for index, name in enumerate(state.samples.ids)}
    for name in query.ids:
        index = where[name]
        size = image_size(state.samples.images[index])
        suggestion = None if fitted is None else lambda i=index, s=size: predict(pool, state.samples, fitted, i, s)
        yield ToAnnotate(name, Path(state.samples.images[index]), size, suggestion)


@torch.no_grad()
def predict(pool: OwnPool, samples: FileSamples, fitted: Fitted, index: int, size: tuple[int, int]) -> np.ndarray:
    """Return the model's prediction of an image at a size, (H, W) uint8 train ids."""
    device = next(fitted.network.parameters()).device
    image = to_input(pool.view(samples, [index])[0][None], device)
    return pool.task.predict(fitted.network, image, size)[0].cpu().numpy().astype(np.uint8)


def write_table(file: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    file.write_text(text.getvalue(), encoding="utf-8")


def link_or_copy(file: Path, to: Path) -> None:
    """Link a file, or copy it where the file system has no links."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        return to.symlink_to(file.resolve())
    shutil.copyfile(file, to)
