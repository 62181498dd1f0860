"""A long training inside a round: its random streams, its checkpoint and its progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.data.views import Draws, load_draws
from seg_al.reporting.progress import Progress
from seg_al.run_directory import load_tensors, save_tensors
from seg_al.streams import Key, generator, torch_seed

SAVE_EVERY_SECONDS = 5.0
"""Epochs shorter than this share a checkpoint, so that writing it stays a small part of the work."""

CHECK_EVERY_STEPS = 20
"""Steps between looks at the loss; looking makes a GPU wait."""


_KEPT = "what was done until then is kept; lower the learning rate, or clip gradients, under a new name"


class Stateful(Protocol):
    """A module, an optimizer, or anything else that can be saved and restored."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


class Phase:
    """A training that can be killed at any moment and goes on at the epoch it had reached.

    Use::

        phase.begin(epochs, steps, network=network, optimizer=optimizer)   # restores both, if it can
        batches = phase.batches(view, "labeled", batch_size)
        for epoch in phase.epochs():
            for _ in range(steps):
                ...
                phase.step(loss=loss)

    Args:
        name: of the checkpoint file and the random streams, e.g. ``"train"``.
        key: (seed, round), what every stream derives from.
        folder: where the checkpoint lies; None keeps none.
        title: what the progress bar says, e.g. ``"round 2/6 · train"``.
        record: called with (name, epoch, epochs in all, mean of each value) after each epoch.
    """

    def __init__(
        self,
        name: str,
        fabric: Fabric,
        key: tuple[Key, ...],
        folder: Path | None = None,
        title: str = "",
        workers: int = 0,
        record: Callable[[str, int, int, dict[str, float]], None] | None = None,
    ) -> None:
        self.name = name
        self.fabric = fabric
        self.key = (*key, name)
        self.title = title or name
        self.workers = workers
        self.seconds = 0.0
        self.means: dict[str, float] = {}  # of the last epoch's values
        self._file = folder / f"{name}.ckpt" if folder else None
        self._record = record

    def rng(self, *purpose: Key) -> np.random.Generator:
        """Return a generator of this phase for a purpose."""
        return generator(*self.key, *purpose)

    def seed_torch(self, *purpose: Key) -> None:
        """Seed torch's global stream for a purpose of this phase."""
        torch.manual_seed(torch_seed(*self.key, *purpose))

    def begin(self, epochs: int, steps: int, **state: Stateful) -> None:
        """Set the length (epochs of `steps` steps) and restore `state` from a checkpoint, if there is one.

        Raises:
            UserError: the checkpoint is damaged or of other networks; names the file.
        """
        self._epochs, self._steps, self._state, self._first = epochs, steps, state, 0
        self._started = self._saved = time.monotonic()
        if self._file and self._file.exists():
            saved = load_tensors(self._file)
            try:
                for name, part in state.items():
                    part.load_state_dict(saved[name])
                self._first, self.seconds, self.means = saved["epoch"], saved["seconds"], saved["means"]
            except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"{self._file}: does not fit ({reason}); delete it to repeat that step") from None

    def batches(self, view: Any, name: str, batch_size: int, per_step: int = 1, parts: int = 1) -> Iterator[Any]:
        """Return the batches of the remaining epochs, a stream of its own for each `name`.

        Args:
            batch_size: images a batch, over all processes; each gets its share, in `parts` pieces.
            per_step: batches of this stream taken in each step.

        Raises:
            UserError: the batch cannot be shared out evenly.
        """
        world = self.fabric.world_size
        if batch_size % (world * parts):
            raise UserError(f"batch_size {batch_size} cannot be split over {world} processes x {parts} pieces evenly")
        epochs = range(self._first, self._epochs)
        key = (*self.key, name)
        rank = self.fabric.global_rank
        draws = Draws(key, len(view), batch_size, self._steps * per_step, epochs, rank, world, parts)
        return load_draws(view, draws, self.workers)

    def epochs(self) -> Iterator[int]:
        """Yield the remaining epochs; after each, check and record the losses and save a checkpoint."""
        with Progress(
            self.title,
            total=self._epochs * self._steps,
            initial=self._first * self._steps,
            unit="step",
            enabled=self.fabric.is_global_zero,
        ) as self._bar:
            for epoch in range(self._first, self._epochs):
                self._epoch, self._step = epoch, 0
                self._pending: list[dict[str, Tensor]] = []
                self._sums: dict[str, float] = {}
                self.seed_torch("epoch", epoch, self.fabric.global_rank)  # own dropout and noise a process
                yield epoch
                self._look()
                self.means = {name: total / self._steps for name, total in self._sums.items()}
                if self._record:
                    self._record(self.name, epoch, self._epochs, self.means)
                self._save(epoch + 1)
        self.seconds += time.monotonic() - self._started

    def step(self, **values: Tensor) -> None:
        """Count one step and its losses (scalars, detached).

        Raises:
            UserError: a loss is NaN or infinite; names round, epoch and batch.
        """
        self._pending.append(values)
        self._step += 1
        if values and (next(iter(values.values())).device.type == "cpu" or len(self._pending) == CHECK_EVERY_STEPS):
            self._look()
        self._bar.update(1)

    def check_finite(self, network: nn.Module) -> None:
        """Check what a training ended with: its last step may have spoiled weights that gave finite losses.

        Raises:
            UserError: a weight is NaN or infinite, or a buffer NaN (infinite ones may be meant, such as masks).
        """
        spoiled = [name for name, weight in network.named_parameters() if not weight.isfinite().all()]
        spoiled += [name for name, buffer in network.named_buffers() if buffer.isnan().any()]
        if spoiled:
            raise UserError(f"{self.title}: training ended with {spoiled[0]} not finite; {_KEPT}")

    def _look(self) -> None:
        if not self._pending:
            return
        names = list(self._pending[0])
        rows = torch.stack([torch.stack([row[name].float() for name in names]) for row in self._pending]).tolist()
        for back, row in enumerate(rows):
            if not np.isfinite(row).all():
                batch = self._step - len(rows) + back
                bad = ", ".join(f"{name} {value:g}" for name, value in zip(names, row, strict=True))
                raise UserError(
                    f"{self.title}: loss is not finite ({bad}) in epoch {self._epoch}, batch {batch}; {_KEPT}"
                )
        for column, name in enumerate(names):
            self._sums[name] = self._sums.get(name, 0.0) + sum(row[column] for row in rows)
        self._pending = []
        self._bar.update(0, **dict(zip(names, rows[-1], strict=True)))

    def _save(self, epoch: int) -> None:
        now = time.monotonic()
        soon = now - self._saved < SAVE_EVERY_SECONDS and epoch < self._epochs
        if self._file is None or soon or not self.fabric.is_global_zero:
            return
        state: Mapping[str, Any] = {name: part.state_dict() for name, part in self._state.items()}
        save_tensors(
            self._file, {**state, "epoch": epoch, "seconds": self.seconds + now - self._started, "means": self.means}
        )
        self._saved = time.monotonic()
