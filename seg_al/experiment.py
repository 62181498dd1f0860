"""Experiment: one strategy on one data set with one seed, and the loop of active learning."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from seg_al.config import Component, UserError, components
from seg_al.data.base import Dataset, Samples, Split
from seg_al.data.check import preflight
from seg_al.data.views import EvaluationView, ImageView, LabeledView, evaluation_images, to_input
from seg_al.machine import Machine
from seg_al.models.base import Model
from seg_al.oracle import IdealOracle, Labels, Oracle
from seg_al.phase import Phase
from seg_al.pool import InitialPool, Pool, RandomInitial
from seg_al.rehearsal import rehearse
from seg_al.reporting.confusion import confusion_table, plot_confusion, read_confusion
from seg_al.reporting.curves import collect, plot_curve, write_curve
from seg_al.reporting.gallery import contact_sheet, reconstructions
from seg_al.reporting.progress import progress
from seg_al.reporting.queried import SHOWN, describe_query, write_pictures
from seg_al.reporting.tensorboard import RunWriter
from seg_al.round import Round
from seg_al.run_directory import RunDirectory, load_tensors, save_tensors
from seg_al.strategies.base import Selection, Strategy
from seg_al.streams import generator
from seg_al.tasks.base import Metric, Task
from seg_al.tasks.segmentation import Segmentation
from seg_al.training import Train, evaluate, fit, member_name, member_samples

FIRST_ROUND = ("labeled.txt", "model.pt", "confusion.csv", "metrics.json")
"""Files of a first round that another run takes over."""


class Experiment(Component):
    """One run of active learning: train, evaluate, select, label, and again."""

    tool = "tools/train_al.py"

    name: str = ""
    """Folder of the run under the output folder; the config file's name where empty."""

    dataset: Dataset
    """Images and labels; its split train is the pool."""

    model: Model
    """The task model, trained from new weights each round."""

    strategy: Strategy
    """Chooses which images to label."""

    task: Task = Segmentation()
    """Loss and metric."""

    oracle: Oracle = IdealOracle()
    """Labels what is asked for."""

    initial: int | InitialPool
    """Images labeled at the start: a number (drawn at random), or a way to choose them."""

    budget: int
    """Images to label after each round but the last."""

    rounds: int
    """Times a model is trained and evaluated."""

    train: Train = Train()
    """How the task model is trained."""

    seed: int = 0
    """Seed of every random choice."""

    machine: Machine = Machine()
    """Devices and output folder; may change when a run goes on."""

    @property
    def directory(self) -> Path:
        """The run's folder, ``<output>/<name>/seed<k>``."""
        return self.machine.folder / (self.name or "experiment") / f"seed{self.seed}"

    def run(self, first_round: Path | None = None, wait: bool = False) -> Path:
        """Run, or go on with, the experiment; return the run directory.

        Args:
            first_round: directory of a finished run of one round, with another strategy or budget but otherwise
                equal settings: its trained model and results are taken over.
            wait: wait for another process that works on this run, rather than to refuse.

        Raises:
            UserError: a mistake in settings or data, found before anything is written; a run directory
                that is in use, not writable, or another run's; a loss that is not finite.
        """
        fabric = self.machine.fabric(self.train.precision)
        samples = {split: self.dataset.samples(split) for split in self._splits()}
        self._check(samples)
        labels = self.oracle.labels(self.dataset, samples["train"], self.seed)
        state: Any = None  # rank 0 says what it is
        run = RunDirectory(self.directory, writes=fabric.is_global_zero, wait=wait)
        if run.writes:
            if first_round:
                self._check_first(RunDirectory(first_round))
            # a run that goes on need not choose again, which may mean to read all labels of the pool
            new = not (run.path / "state.json").exists()
            initial = self._initial(samples["train"]) if new else []
            self._preflight()
            if new:
                rehearse(self, fabric, samples, labels, initial)
            start = {"round": 0, "phase": "train", "labeled": [samples["train"].ids[i] for i in initial]}
            state = run.open(self, ignore=("machine",)) or start
        try:
            _Loop(self, fabric, run, samples, labels, fabric.broadcast(state)).run(first_round)
        finally:
            run.close()
        return run.path

    def _splits(self) -> tuple[Split, ...]:
        return ("train", "test", "val") if self.train.keep == "best" else ("train", "test")

    def _check(self, samples: Mapping[Split, Samples]) -> None:
        """Check counts and splits."""
        for name in ("rounds", "budget"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; an experiment needs at least 1")
        for split, listed in samples.items():
            if not len(listed):
                raise UserError(f"{type(self.dataset).__name__}: its {split} split is empty, but this run needs it")
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}; it must be 0 or above")

    def _check_ready(self) -> None:
        """Check that weights and other files are there: found missing later, they would cost the rounds before."""
        self.model.build(len(self.dataset.class_names))
        for part in components(self):
            part.check_ready()

    def _preflight(self) -> None:
        """Read all labels and look at all images; say what may spoil results."""
        report = preflight(self.dataset, progress=progress)
        for split in self._splits()[1:]:
            found = report.splits[split]
            if found.labeled < found.images:
                raise UserError(
                    f"{type(self.dataset).__name__}: {found.images - found.labeled} of {found.images} images of split "
                    f"{split} have no label; leave them out"
                )
        if self.train.keep == "best" and not report.splits["val"].images_with.any():
            raise UserError("train.keep is 'best', but no image of split val shows a class; set it to 'last'")
        for warning in report.warnings:
            print(f"note: {warning}", file=sys.stderr)

    def _check_first(self, run: RunDirectory) -> None:
        """Check that a run can be taken over as the first round."""
        run.check(self, ignore=("name", "strategy", "budget", "rounds", "machine"))
        if ((run.state() or {}).get("phase"), len(list(run.path.glob("rounds/*")))) != ("done", 1):
            raise UserError(f"{run.path}: no finished run of one round to start from")

    def _initial(self, pool: Samples) -> list[int]:
        """Return the indices of the initial pool; check that all is ready, and that the pool holds the queries."""
        self._check_ready()
        chooser = RandomInitial(size=self.initial) if isinstance(self.initial, int) else self.initial
        initial = chooser.choose(self.dataset, pool, self.seed)
        self.check_size(len(initial), len(pool))
        return initial

    @property
    def initial_size(self) -> int | None:
        """Images of the initial pool where that is a setting; None where it shows when they are chosen."""
        return self.initial if isinstance(self.initial, int) else getattr(self.initial, "size", None)

    def check_size(self, initial: int, pool: int) -> None:
        """Check that a pool of so many images holds the initial ones and all queries.

        Raises:
            UserError: it does not.
        """
        queries = self.rounds - 1
        wanted = initial + self.budget * queries
        if wanted > pool:
            lower = f"budget to {(pool - initial) // queries}, or rounds" if initial < pool else "initial"
            raise UserError(
                f"{initial} initial + {queries} queries of {self.budget} are {wanted} images, but the pool holds "
                f"{pool}; lower {lower}"
            )


class _Loop:
    """A run under way. Each step leaves its result on disk; `state.json`, written last, says that it is there."""

    def __init__(
        self,
        experiment: Experiment,
        fabric: Fabric,
        directory: RunDirectory,
        samples: Mapping[Split, Samples],
        labels: Labels,
        state: Mapping[str, Any],
    ) -> None:
        self.experiment, self.fabric, self.directory, self.samples = experiment, fabric, directory, samples
        self.labels = labels
        self.dataset, self.task, self.settings = experiment.dataset, experiment.task, experiment.train
        self.workers = experiment.machine.loading_workers()
        self.round, self.phase = int(state["round"]), str(state["phase"])
        where = {name: index for index, name in enumerate(samples["train"].ids)}
        gone = [name for name in state["labeled"] if name not in where]
        if gone:
            raise UserError(f"{directory.path}: {len(gone)} labeled images are not in the data set, first {gone[0]!r}")
        self.pool = Pool(samples["train"].ids, tuple(where[name] for name in state["labeled"]))
        self.metrics: dict[str, Any] = state.get("metrics", {})
        self.writer: RunWriter | None = None

    def run(self, first_round: Path | None = None) -> None:
        """Go through the rounds that are left, the first of which `first_round` may have done."""
        experiment = self.experiment
        if self.phase == "done":
            self.remove_checkpoints()  # one killed at its very end had no time for that
            return self.say(f"{self.directory.path}: this run is finished; see its curve.csv and curve.png")
        if (self.directory.path / "state.json").exists():
            self.say(f"{self.directory.path}: going on with round {self.round + 1}/{experiment.rounds}, {self.phase}")
        else:
            self.say(f"{self.directory.path}: starts with {len(self.pool.labeled)} of {len(self.pool.ids)} labeled")
            if first_round:
                self.take_over(first_round)
            else:
                self.advance("train")
        if self.directory.writes:
            self.writer = RunWriter(self.directory.path, purge_step=len(self.pool.labeled))
        while self.phase != "done":
            network = self.train()
            self.evaluate(network)
            last = self.round + 1 == experiment.rounds
            query = np.empty(0, np.int64) if last else self.select(network)
            self.summarize(network)
            self.pool = self.pool.label(query)
            self.advance("done" if last else "train", self.round + (not last))

    def take_over(self, first_round: Path) -> None:
        """Copy a first round, trained and evaluated, from another run's directory."""
        folder = first_round / "rounds" / "00"
        try:
            files = {name: (folder / name).read_bytes() for name in FIRST_ROUND}
            self.metrics = json.loads(files["metrics.json"])
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: damaged ({error}); delete {first_round} to train it anew") from None
        for name, content in files.items():
            self.directory.write(self.file(name), content)
        self.write_results()
        self.advance("select")

    # The steps of a round. Each is skipped when it was done before the run was interrupted.

    def train(self) -> nn.Module:
        """Return this round's task model in eval mode: trained on the labeled pool, or read from disk."""
        phase = self.new_phase("train")
        phase.seed_torch("initial weights")
        network = self.experiment.model.build(len(self.dataset.class_names)).to(self.fabric.device)
        weights = self.directory.path / self.file("model.pt")
        if self.phase != "train" and weights.exists():  # deleted, as one does with a damaged file, it is made again
            try:
                network.load_state_dict(load_tensors(weights))
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise UserError(f"{weights}: does not fit the model ({reason})") from None
            return network.eval().requires_grad_(False)
        self.directory.write(self.file("labeled.txt"), "".join(f"{self.pool.ids[i]}\n" for i in self.pool.labeled))
        network = self.fit(network, self.pool.labeled, phase)
        if self.directory.writes:
            save_tensors(weights, network.state_dict())
        self.metrics = {
            "round": self.round,
            "labeled": len(self.pool.labeled),
            "fraction": self.pool.fraction,
            "test": {},
            "seconds": {"train": phase.seconds, "acquisition": 0.0, "score": 0.0, "select": 0.0},
            "losses": {"train": phase.means["loss"]},
            "diagnostics": self.labels.report(self.pool.labeled) if self.directory.writes else {},
        }
        self.advance("evaluate")
        return network

    def evaluate(self, network: nn.Module) -> None:
        """Measure the model on the test split, at the labels' own resolution."""
        if self.phase == "evaluate":
            start = time.monotonic()
            metric = self.measure(network, "test", "evaluate")
            names = self.dataset.class_names
            self.directory.write(self.file("confusion.csv"), confusion_table(metric.confusion.cpu().numpy(), names))
            self.metrics["test"] = metric.summary(names)
            self.metrics["seconds"]["evaluate"] = time.monotonic() - start
            self.write_results()
            self.advance("select")

    def select(self, network: nn.Module) -> np.ndarray:
        """Let the strategy choose, write its query down, and return the indices of the queried samples."""
        budget, strategy = self.experiment.budget, self.experiment.strategy
        unlabeled = self.images("train", self.pool.unlabeled)
        round = Round(
            model=network,
            task=self.task,
            labeled=self.images("train", self.pool.labeled),
            unlabeled=unlabeled,
            rng=generator(self.experiment.seed, self.round, "strategy"),
            seed=self.experiment.seed,
            fabric=self.fabric,
            title=self.title(),
            batch_size=self.settings.evaluation_batch_size,
            workers=self.workers,
            new_phase=self.new_phase,
            new_member=self.train_member,
        )
        selection: Selection = self.fabric.broadcast(strategy.select(round, budget))
        check_selection(selection, len(unlabeled), budget, strategy)
        query = unlabeled.indices[selection.positions]
        self.directory.write(self.file("query.csv"), query_table([self.pool.ids[i] for i in query], selection.scores))
        self.metrics["diagnostics"].update(round.diagnostics)
        self.metrics["seconds"].update(round.seconds)
        if self.directory.writes:
            image = self.samples["train"].image
            self.metrics["query"] = describe_query(image, self.labels.target, query.tolist(), self.dataset.class_names)
            pictures = [self.queried(int(index)) for index in query[:SHOWN]]
            write_pictures(self.directory.path / self.file("query"), pictures)
            self.show_query(query, selection.scores, [picture for picture, _ in pictures], round.pictures)
        return query

    # What the steps share.

    def fit(self, network: nn.Module, indices: Sequence[int], phase: Phase) -> nn.Module:
        """Train a task model on samples of the labeled pool; return it in eval mode."""
        view = LabeledView(self.dataset, self.samples["train"], self.labels.target, indices)
        validate = self.validate if self.settings.keep == "best" else None
        return fit(self.task, network, view, self.settings, phase, len(self.pool.ids), validate)

    def train_member(self, k: int, bootstrap: bool) -> tuple[nn.Module, float]:
        """Return one more task model, and the seconds of its training; see `Round.train_member`."""
        phase = self.new_phase(member_name(k, bootstrap))
        phase.seed_torch("initial weights")
        network = self.experiment.model.build(len(self.dataset.class_names)).to(self.fabric.device)
        return self.fit(network, member_samples(self.pool.labeled, bootstrap, phase), phase), phase.seconds

    def images(self, split: Split, indices: Any) -> ImageView:
        """Return a view of images alone, under the evaluation transform."""
        return evaluation_images(self.dataset, self.samples[split], indices)

    def measure(self, network: nn.Module, split: Split, what: str) -> Metric:
        """Return the metric of a model on a split."""
        return evaluate(
            self.task, network, self.dataset, self.samples[split], self.fabric,
            self.settings.evaluation_batch_size, self.workers, self.title(what),
        )  # fmt: skip

    def validate(self, network: nn.Module) -> float:
        """Return a model's score on the validation split, higher is better."""
        return self.measure(network, "val", "validate").summary(self.dataset.class_names)[self.task.metric_name]

    def new_phase(self, name: str) -> Phase:
        """Return a resumable training of this round."""
        key = (self.experiment.seed, self.round)
        folder = (self.directory.path / self.file("")) if self.directory.path.exists() else None
        return Phase(name, self.fabric, key, folder, self.title(name), self.workers, self.record)

    def record(self, name: str, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """Write the losses of an epoch to TensorBoard."""
        if self.writer:
            tag = "train" if name == "train" else f"train/{name}"
            self.writer.epoch(tag, values, self.round * epochs + epoch)

    def advance(self, phase: str, round: int | None = None) -> None:
        """Write what is done. From here on, an interrupted run goes on with `phase`."""
        self.fabric.barrier()
        self.phase, self.round = phase, self.round if round is None else round
        state = {
            "round": self.round,
            "phase": phase,
            "labeled": [self.pool.ids[i] for i in self.pool.labeled],
            "metrics": self.metrics,
        }
        self.directory.write_json("state.json", state)
        if phase in ("train", "done"):
            self.remove_checkpoints()

    def remove_checkpoints(self) -> None:
        """Remove what trainings left that are over, or whose process was killed."""
        if self.directory.writes:
            for pattern in ("*.ckpt", ".*.ckpt.*"):  # the latter of processes that were killed as they wrote
                for checkpoint in self.directory.path.glob(f"rounds/*/{pattern}"):
                    checkpoint.unlink()

    def write_results(self) -> None:
        """Write this round's metrics, and the curve so far as a table and a figure."""
        if self.directory.writes:
            self.directory.write_json(self.file("metrics.json"), self.metrics)
            write_curve(self.directory.path, collect(self.directory.path))
            try:
                plot_curve(self.directory.path, self.directory.siblings())
            except UserError as error:
                self.say(f"note: curve.png is not drawn: {error}")

    def summarize(self, network: nn.Module) -> None:
        """Write the whole round's results, also to TensorBoard, and say how it went in one line."""
        self.write_results()
        metrics, seconds = self.metrics, self.metrics["seconds"]
        if self.writer:
            self.writer.round_metrics(metrics["labeled"], metrics)
            self.writer.image(
                "test/confusion",
                plot_confusion(*read_confusion(self.directory.path / self.file("confusion.csv"))),
                metrics["labeled"],
            )
            self.show_predictions(network)
        query = seconds["acquisition"] + seconds["score"] + seconds["select"]
        score = metrics["test"][self.task.metric_name]  # None where no test pixel counts
        self.say(
            f"{self.title()}  labeled {metrics['labeled']}/{len(self.pool.ids)} ({metrics['fraction']:.1%})  "
            f"{self.task.metric_name} {'undefined' if score is None else f'{score:.1%}'}  "
            f"train {seconds['train']:.0f} s  query {query:.0f} s"
        )

    def show_predictions(self, network: nn.Module) -> None:
        """Write some test images, their labels and the model's predictions to TensorBoard."""
        if not self.writer:
            return
        samples, view = self.samples["test"], EvaluationView(self.dataset, self.samples["test"])
        rows, captions = [], []
        for index in np.linspace(0, len(samples) - 1, min(6, len(samples))).astype(int):
            image, target = view[int(index)]
            with torch.no_grad(), self.fabric.autocast():
                predicted = self.task.predict(network, to_input(image[None], self.fabric.device), target.shape)[0]
            picture = self.task.picture(
                samples.image(int(index)), target.numpy(), predicted.cpu().numpy(), self.dataset.palette
            )
            rows.append(picture)
            captions.append(f"{samples.ids[int(index)]}: {self.task.caption}")
        width = 180 * rows[0].shape[1] // rows[0].shape[0]
        sheet = contact_sheet(rows, captions, columns=max(1, 720 // width), tile=(180, width))
        self.writer.image("test/predictions", sheet, len(self.pool.labeled))

    def show_query(
        self, query: np.ndarray, scores: np.ndarray, images: Sequence[np.ndarray], more: Mapping[str, list[np.ndarray]]
    ) -> None:
        """Write the first queried images, and what else the strategy shows, to TensorBoard."""
        if not self.writer:
            return
        first = zip(query[: len(images)], scores, strict=False)
        captions = [f"{self.pool.ids[i]}\nscore {score:.4g}" for i, score in first]
        self.writer.image("query", contact_sheet(images, captions), len(self.pool.labeled))
        for name, rows in more.items():
            self.writer.image(name, reconstructions(rows[0], rows[1]), len(self.pool.labeled))

    def queried(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a queried image as it is, and with the label that the oracle gave it."""
        image = self.samples["train"].image(index)
        return image, self.task.with_label(image, self.labels.target(index), self.dataset.palette)

    def file(self, name: str) -> Path:
        """Return the path of this round's file, relative to the run directory."""
        return self.directory.round(self.round).relative_to(self.directory.path) / name

    def title(self, what: str = "") -> str:
        """Return what a progress bar says."""
        return f"round {self.round + 1}/{self.experiment.rounds}" + (f" · {what}" if what else "")

    def say(self, line: str) -> None:
        """Print a line, once for all processes."""
        if self.fabric.is_global_zero:
            print(line, flush=True)


def check_selection(selection: Selection, count: int, budget: int, strategy: Strategy) -> None:
    """Check that a strategy asked for `budget` distinct positions below `count`.

    Raises:
        ValueError: it did not: a defect of the strategy, not of the user's.
    """
    positions = np.asarray(selection.positions)
    if len(positions) != budget or len(selection.scores) != budget:
        raise ValueError(f"{type(strategy).__name__} chose {len(positions)} images, but the budget is {budget}")
    if len(np.unique(positions)) != budget or positions.min() < 0 or positions.max() >= count:
        raise ValueError(f"{type(strategy).__name__} chose an image twice, or one that is not in the unlabeled pool")


def query_table(ids: Sequence[str], scores: np.ndarray) -> str:
    """Return query.csv: rank (from 1), id, score (empty where a strategy has none)."""
    rows = io.StringIO()
    table = csv.writer(rows, lineterminator="\n")
    table.writerow(["rank", "id", "score"])
    for rank, (name, score) in enumerate(zip(ids, scores, strict=True), 1):
        table.writerow([rank, name, "" if np.isnan(score) else repr(float(score))])
    return rows.getvalue()
