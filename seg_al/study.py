"""Study: several strategies on one data set, each with the same seeds, so that they can be compared in pairs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seg_al.config import Component, UserError, source
from seg_al.experiment import Experiment
from seg_al.oracle import for_each
from seg_al.pool import RandomInitial, check_pattern
from seg_al.reporting.files import write_atomically
from seg_al.reporting.indices import write_indices
from seg_al.reporting.queried import class_counts
from seg_al.reporting.runs import FIRST, FULL
from seg_al.run_directory import RunDirectory, as_json
from seg_al.strategies.base import Strategy
from seg_al.strategies.random import Random

TAKEN = (FIRST, FULL, "indices", "logs", "report", "study.json", "pool.json")
"""Names in a study's folder that are not a strategy's."""


@dataclass(frozen=True)
class Key:
    """A run of a study: of a strategy's name, or `FIRST`, or `FULL`."""

    name: str
    seed: int

    def __str__(self) -> str:
        return f"{self.name}/seed{self.seed}"


class Study(Component):
    """Strategies compared over paired seeds.

    For each seed all strategies share the initial pool, the initial weights and the trained model of the
    first round, which is trained once.
    """

    tool = "tools/run_study.py"

    name: str = ""
    """Folder of the study under the output folder; the config file's name where empty."""

    base: Experiment
    """What all runs share; its own strategy, seed and name count for nothing."""

    strategies: dict[str, Strategy]
    """What is compared, by name; colours in figures follow from the names. Random should be among them."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """Seeds; with fewer than 6, no difference can be significant in an exact test of signs."""

    full: bool = False
    """Whether to train on the whole pool, too, for each seed: the upper bound."""

    sequence: str = ""
    """Regular expression; what it matches at the start of an id names the sequence, as in `LeaveOut`. Where given,
    the report shows how much of each query comes from sequences that were not labeled before."""

    def __post_init__(self) -> None:
        for name in self.strategies:
            if not re.fullmatch(r"[\w+][\w.+-]*", name) or name in TAKEN:
                raise UserError(
                    f"Study.strategies: {name!r} cannot be a folder's name here; take letters, digits, _ and -"
                )
        options = [name.replace("-", "_") for name in self.strategies]
        if twice := next((name for name in options if options.count(name) > 1), None):
            raise UserError(
                f"Study.strategies: two names are {twice!r} but for - and _, which options do not tell apart"
            )
        if not self.strategies:
            raise UserError("Study.strategies is empty; name at least one, as {'random': Random()}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise UserError(f"Study.seeds must be distinct numbers from 0, at least one, not {self.seeds}")
        check_pattern(self.sequence, "Study.sequence")

    @property
    def directory(self) -> Path:
        """The study's folder, ``<output>/<name>``, with a folder for each strategy's runs."""
        return self.base.machine.folder / (self.name or "study")

    def keys(self) -> list[Key]:
        """Return the study's runs, seed by seed: the shared first round, the strategies, the whole pool."""
        names = [FIRST, *self.strategies, *([FULL] if self.full else [])]
        return [Key(name, seed) for seed in self.seeds for name in names]

    def experiment(self, key: Key) -> Experiment:
        """Return the experiment of a run."""
        base = replace(self.base, name=f"{self.name or 'study'}/{key.name}", seed=key.seed)
        if key.name == FIRST:
            return replace(base, strategy=Random(), rounds=1)
        if key.name == FULL:
            pool = len(self.base.dataset.samples("train"))
            return replace(base, strategy=Random(), rounds=1, initial=RandomInitial(size=pool))
        return replace(base, strategy=self.strategies[key.name])

    def run(self, key: Key) -> Path:
        """Run, or go on with, one run; return its directory. Where another process works on it, wait for that one.

        Raises:
            UserError: as `Experiment.run`; or a strategy's run before the first round of its seed is done.
        """
        shared = None if key.name in (FIRST, FULL) else self.experiment(Key(FIRST, key.seed)).directory
        path = self.experiment(key).run(shared, wait=True)
        self.publish(key)
        return path

    def publish(self, key: Key) -> None:
        """Write what a finished run labeled into ``indices/``, if it is not there."""
        file = self.directory / "indices" / f"{key.name}_seed{key.seed}.csv"
        if key.name != FIRST and not file.exists():
            write_indices(self.experiment(key).directory, file)

    def done(self, key: Key) -> bool:
        """Tell whether a run is finished.

        Raises:
            UserError: its folder holds a run with other settings.
        """
        experiment = self.experiment(key)
        run = RunDirectory(experiment.directory)
        return run.check(experiment, ignore=("machine",)) and (run.state() or {}).get("phase") == "done"

    def check_size(self) -> None:
        """Check that the pool holds what the runs will ask for, where the initial pool's size is a setting.

        Raises:
            UserError: it does not.
        """
        if self.base.initial_size is not None:
            self.base.check_size(self.base.initial_size, len(self.base.dataset.samples("train")))

    def describe(self) -> None:
        """Write ``study.json``, the runs that belong to the study, and ``pool.json``, the classes of its pool.

        A seed that was begun with belongs to it also if this time another is asked for, as does the whole pool.

        Raises:
            UserError: the study's folder cannot be written to.
        """
        try:
            self._describe()
        except OSError as error:
            raise UserError(f"{self.directory}: cannot be written ({error.strerror or error})") from None

    def _describe(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        matches = (re.fullmatch(r"seed(\d+)", path.parent.name) for path in self.directory.glob("*/*/config.py"))
        begun = {int(match[1]) for match in matches if match}
        about = {
            "strategies": list(self.strategies),
            "seeds": [*self.seeds, *sorted(begun - set(self.seeds))],
            "full": self.full or (self.directory / FULL).exists(),
            "rounds": self.base.rounds,
            "sequence": self.sequence,
        }
        write_atomically(self.directory / "study.json", as_json(about))
        file, dataset = self.directory / "pool.json", source(self.base.dataset)
        try:
            known = json.loads(file.read_text(encoding="utf-8"))["dataset"]
        except (OSError, ValueError, TypeError, KeyError):
            known = None
        if known != dataset:
            samples, names = self.base.dataset.samples("train"), self.base.dataset.class_names
            counts = np.zeros((len(samples), len(names)), np.int64)

            def read(index: int) -> None:
                target = samples.target(index)
                if target is not None:
                    counts[index] = class_counts(target, len(names))

            for_each(read, range(len(samples)), "labels of the pool")
            pixels, images = counts.sum(0).tolist(), (counts > 0).sum(0).tolist()
            classes = {"pixels": dict(zip(names, pixels, strict=True)), "images": dict(zip(names, images, strict=True))}
            write_atomically(file, as_json({"dataset": dataset, "size": len(samples), **classes}))
