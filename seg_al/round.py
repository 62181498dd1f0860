"""Round: what a strategy may see, and what it may ask to be computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.data.views import ImageView, load_in_order, to_input
from seg_al.phase import Phase
from seg_al.processes import share
from seg_al.reporting.progress import Progress
from seg_al.streams import generator
from seg_al.tasks.base import Task

__all__ = ["ImageView", "Round"]  # what a strategy may name: it gets its images from here, not from data sets


@dataclass
class Round:
    """What a strategy may look at. Nothing heavy runs until asked for.

    Attributes:
        model: the task model trained on `labeled`, unwrapped, in eval mode.
        labeled, unlabeled: images only, under the evaluation transform; no way to a label.
        rng: the strategy's own random stream in this round.
        new_phase: makes a resumable training of its own, by name; None: one without a checkpoint.
        new_member: trains one more task model, see `train_member`; None: cannot.
        diagnostics, seconds, pictures: what the strategy logged.
    """

    model: nn.Module
    task: Task
    labeled: ImageView
    unlabeled: ImageView
    rng: np.random.Generator = field(default_factory=lambda: generator(0, 0, "strategy"))
    seed: int = 0
    fabric: Fabric = field(default_factory=Fabric)
    title: str = "query"
    batch_size: int = 8
    workers: int = 0
    new_phase: Callable[[str], Phase] | None = None
    new_member: Callable[[int, bool], tuple[nn.Module, float]] | None = None
    diagnostics: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, list[np.ndarray]] = field(default_factory=dict)
    members: dict[tuple[int, bool], nn.Module] = field(default_factory=dict)

    def first(self) -> Round:
        """Return this round with no more than the first image of each pool, to try things on."""
        labeled, unlabeled = (view.subset(np.arange(len(view))[:1]) for view in (self.labeled, self.unlabeled))
        return replace(self, labeled=labeled, unlabeled=unlabeled)

    @torch.no_grad()
    def map(self, fn: Callable[[Tensor], Tensor], images: ImageView, timed_as: str = "score") -> Tensor:
        """Apply `fn` to all images and return one row an image, in the view's order, on the CPU.

        Args:
            fn: (B, 3, H, W) in [0, 1] on the device to (B, ...). It runs without gradients and under the
                run's precision; the networks in it are the caller's, and are to be in eval mode.
            timed_as: the entry of ``seconds`` the time counts for.

        Batches are dealt out whole over processes, so rows do not depend on their number.
        """
        batches, mine = share(len(images), self.batch_size, self.fabric)
        rows: Tensor | None = None  # all in one: small ones between the buffers of the passes would fragment memory
        start = 0
        with (
            self.timed(timed_as),
            Progress(
                f"{self.title} · {timed_as}", total=len(mine), unit="batch", enabled=self.fabric.is_global_zero
            ) as bar,
            self.fabric.autocast(),
        ):
            for groups, batch in zip(load_in_order(images, mine, self.workers), mine, strict=True):
                for places, stacked in groups:
                    values = fn(to_input(stacked, self.fabric.device)).float().cpu()
                    if rows is None:
                        rows = torch.empty(sum(map(len, mine)), *values.shape[1:])
                    rows[start + torch.as_tensor(places)] = values
                start += len(batch)
                bar.update(1)
            return self._gathered(torch.empty(0) if rows is None else rows, batches)

    def to_input(self, images: Tensor) -> Tensor:
        """Move uint8 images to the device and scale them to [0, 1], as `map` and the networks take them."""
        return to_input(images, self.fabric.device)

    def _gathered(self, rows: Tensor, batches: list[list[int]]) -> Tensor:
        """Put the rows of all processes, which took turns at the batches, in the view's order."""
        world = self.fabric.world_size
        if world == 1:
            return rows
        gathered: list[Any] = [None] * world
        torch.distributed.all_gather_object(gathered, rows)
        every = torch.empty(sum(map(len, batches)), *gathered[0].shape[1:])
        for rank, part in enumerate(gathered):
            if len(part):  # with few images, some processes have none
                every[[position for batch in batches[rank::world] for position in batch]] = part
        return every

    def phase(self, name: str) -> Phase:
        """Return a training of this round with streams of its own, and a checkpoint where the run keeps any."""
        if self.new_phase:
            return self.new_phase(name)
        return Phase(name, self.fabric, (self.seed, 0), title=f"{self.title} · {name}", workers=self.workers)

    def train_member(self, k: int, bootstrap: bool = False) -> nn.Module:
        """Return task model `k` of a committee in eval mode, trained as `model` is; once a round.

        Members differ in initial weights and in the order of their training images, and so does member 0
        from `model`.

        Args:
            bootstrap: train it on as many images, drawn from the labeled ones with replacement.

        Raises:
            UserError: the round has no way to train task models.
        """
        if (k, bootstrap) not in self.members:
            if self.new_member is None:
                raise UserError("this strategy trains a committee, which needs the loop of an Experiment")
            self.members[k, bootstrap], seconds = self.new_member(k, bootstrap)
            self.seconds["acquisition"] = self.seconds.get("acquisition", 0.0) + seconds
        return self.members[k, bootstrap]

    def log(self, **diagnostics: Any) -> None:
        """Log numbers (or nested dicts and lists of them) to TensorBoard and metrics.json."""
        self.diagnostics.update(diagnostics)

    def show(self, name: str, *rows: Tensor) -> None:
        """Log rows of pictures, each (B, 3, h, w) in [-1, 1], to TensorBoard."""
        self.pictures[name] = [row.float().cpu().numpy() for row in rows]

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the time of a block under `name` in metrics.json."""
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
