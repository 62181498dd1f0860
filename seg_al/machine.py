"""Where a run computes and writes: what may change when it goes on without changing what it computes."""

from __future__ import annotations

import atexit
import os
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from seg_al.config import Component, UserError


class Machine(Component):
    """Devices, workers and the output folder; none of it is part of a run's identity."""

    output: str | Path = "runs"
    """Folder of all runs, and TensorBoard's --logdir."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device; auto takes a GPU where there is one."""

    workers: int | None = None
    """Processes that load images; None: up to 8 beside a GPU, none on the CPU, which they would share."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise UserError(f"Machine.workers must be at least 0, not {self.workers}")

    @property
    def folder(self) -> Path:
        """The output folder, ``~`` being the user's home."""
        return Path(self.output).expanduser()

    def loading_workers(self) -> int:
        """Return the number of loading processes."""
        if self.workers is not None:
            return self.workers
        return min(8, os.cpu_count() or 1) if torch.cuda.is_available() and self.accelerator != "cpu" else 0

    def fabric(self, precision: Any) -> Fabric:
        """Return a launched Fabric: one process, or all that torchrun started.

        Raises:
            UserError: the accelerator is not there.
        """
        world = int(os.environ.get("WORLD_SIZE", 1))
        local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        # the new name of this option is not known to older versions of torch
        warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")
        try:
            fabric = Fabric(
                accelerator=self.accelerator,
                devices=local,
                num_nodes=world // local,
                # VAAL runs several forwards before one backward: buffers must not be overwritten in between.
                strategy=DDPStrategy(broadcast_buffers=False) if world > 1 else "auto",
                precision=precision,
            )
            fabric.launch()
        except (RuntimeError, ValueError) as error:
            raise UserError(f"machine.accelerator {self.accelerator!r}: {str(error).splitlines()[0]}") from None
        if world > 1:
            atexit.register(_leave)
        return fabric


def _leave() -> None:
    """Leave the process group: a gloo group that is still open at exit may abort the process, with its work done."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
