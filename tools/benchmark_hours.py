"""Hours that runs would take on this machine, from a few steps of each of their trainings and passes.

    python tools/benchmark_hours.py
    python tools/benchmark_hours.py configs/bdd100k_vaal.py --precision bf16-mixed --steps 20
    python tools/benchmark_hours.py --steps 0

Without a config: VAAL on the paper's data sets, which need not be there: their sizes are known, and batches are noise,
ready in memory, so that reading is not in the hours, nor is writing. Rounds, epochs and batch sizes are the config's.
Of strategies, VAAL's training and scoring are measured; of others the task model alone, beside which their queries cost
what docs/strategies.md says. Without steps nothing is timed, and the operations of each part are counted alone.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seg_al import VAAL, Classification, Experiment, Train, load
from seg_al.config import UserError, run_tool
from seg_al.data.base import Dataset
from seg_al.data.views import ImageView, to_input
from seg_al.machine import Machine
from seg_al.models.base import Model
from seg_al.phase import Phase
from seg_al.round import Round
from seg_al.tasks.base import Task
from seg_al.training import fit

CONFIGS = Path(__file__).parents[1] / "configs"

PAPER = tuple(CONFIGS / f"{name}_vaal.py" for name in ("cityscapes", "bdd100k", "cifar10", "caltech256", "imagenet"))
"""VAAL on the paper's data sets; CIFAR100 takes as long as CIFAR10."""

SPLITS = {
    "Cityscapes": (2675, 300, 500, 19),
    "BDD100K": (6000, 1000, 1000, 19),
    "CIFAR10": (45_000, 5000, 10_000, 10),
    "CIFAR100": (45_000, 5000, 10_000, 100),
    "Caltech256": (25_047, 3000, 2560, 257),
    "ImageNet": (1_153_047, 128_120, 50_000, 1000),
}
"""Images of the pool, to validate and to test on, and classes, in the paper's configs: where the data are not there."""

WARM_UP = 2
"""Steps before those that are timed."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """One kind of work in a run.

    Attributes:
        images: that go through it in the whole run.
        operations: floating point operations an image; a backward pass counts as two forward ones.
        batch: images a step.
        measure: returns seconds a step.
    """

    name: str
    size: Size
    images: int
    operations: float
    batch: int
    measure: Callable[[], float]


class Clock:
    """Seconds a step, of those after the warm-up; waits for the device where it starts and where it stops."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self.device, self.steps, self.ticks = device, steps, 0
        self.started = self.seconds = 0.0

    @property
    def needed(self) -> int:
        """Steps to make, the warm-up included."""
        return WARM_UP + self.steps

    def tick(self) -> None:
        """Count a step; on a GPU it may not be done yet."""
        self.ticks += 1
        if self.ticks in (WARM_UP, self.needed):
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            now = time.perf_counter()
            self.started, self.seconds = now, (now - self.started) / self.steps


class Ready(Phase):
    """A training whose batches lie in memory and whose steps are timed."""

    def __init__(self, name: str, fabric: Fabric, clock: Clock, batch: Any) -> None:
        super().__init__(name, fabric, (0, 0))
        self.clock, self.batch = clock, batch

    def batches(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Return the same batch again and again."""
        return itertools.repeat(self.batch)

    def step(self, **values: Tensor) -> None:
        """Count a step."""
        super().step(**values)
        self.clock.tick()


@dataclass(frozen=True)
class Bench:
    """Where steps are timed, and how many."""

    fabric: Fabric
    steps: int

    @property
    def name(self) -> str:
        """The device's."""
        device = self.fabric.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"

    def rate(self, part: Part) -> tuple[float, str]:
        """Measure a part: images/s, and the most memory it took of a GPU, in GiB."""
        device = self.fabric.device
        if device.type != "cuda":
            return part.batch / part.measure(), ""
        torch.cuda.reset_peak_memory_stats(device)
        rate = part.batch / part.measure()
        return rate, f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f}"

    def clock(self) -> Clock:
        """Return a new clock."""
        return Clock(self.fabric.device, self.steps)

    def train(self, model: Model, task: Task, settings: Train, size: Size, classes: int) -> float:
        """Return seconds a step of the task model's training."""
        clock, batch = self.clock(), settings.batch_size // settings.accumulate
        targets = torch.randint(0, classes, (batch, *(() if task == Classification() else size)))
        # hardly a learning rate at all: noise must not make a loss infinite
        settings = replace(settings, epochs=1, epoch_of="pool", keep="last", lr=1e-9, schedule="constant")
        fit(
            task, model.build(classes), range(1), settings,  # type: ignore[arg-type]
            Ready("train", self.fabric, clock, (noise(batch, size), targets)), clock.needed * settings.batch_size,
        )  # fmt: skip
        return clock.seconds

    def vaal(self, strategy: VAAL, size: Size) -> float:
        """Return seconds a step of VAAL's training, one of D with those of the VAE."""
        clock = self.clock()
        phase = Ready("VAAL", self.fabric, clock, noise(strategy.batch_size, size))
        # never read: only their numbers count, which make an epoch of as many steps
        labeled, unlabeled = (
            ImageView(np.zeros, [], range(count), size) for count in (1, clock.needed * strategy.batch_size - 1)
        )
        made = Round(nn.Identity(), Classification(), labeled, unlabeled, fabric=self.fabric, new_phase=lambda _: phase)
        replace(strategy, epochs=1, epoch_of="pool", lr_vae=1e-9, lr_discriminator=1e-9).train(made, size)
        return clock.seconds

    def forward(self, network: nn.Module, pass_: Callable[[Tensor], Any], batch: int, size: Size) -> float:
        """Return seconds of a forward pass of a batch."""
        clock, images = self.clock(), noise(batch, size)
        network.to(self.fabric.device).eval()
        with torch.no_grad(), self.fabric.autocast():
            for _ in range(clock.needed):
                pass_(to_input(images, self.fabric.device)).cpu()
                clock.tick()
        network.cpu()  # out of the memory of the next part
        return clock.seconds


def noise(batch: int, size: Size) -> Tensor:
    """Return random images (B, 3, H, W) uint8."""
    return torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8)


def operations(forward: Callable[[Tensor], Any], size: Size) -> float:
    """Return the floating point operations of an image's forward pass; a multiplication with its addition is two."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward(torch.zeros(1, 3, *size))
    return counter.get_total_flops()


def counts(dataset: Dataset) -> tuple[int, int, int, int]:
    """Return the images of the pool, to validate and to test on, and the classes, of a data set or the paper's."""
    try:
        pool, val, test = (len(dataset.samples(split)) for split in ("train", "val", "test"))  # type: ignore[arg-type]
        return pool, val, test, len(dataset.class_names)
    except UserError:
        if type(dataset).__name__ not in SPLITS:
            raise
        return SPLITS[type(dataset).__name__]


def parts(experiment: Experiment, bench: Bench) -> list[Part]:
    """Return the work of a run: images, operations and how to measure it.

    Raises:
        UserError: images of differing sizes.
    """
    dataset, train, strategy = experiment.dataset, experiment.train, experiment.strategy
    size = dataset.input_size or ((32, 32) if type(dataset).__name__.startswith("CIFAR") else None)
    if size is None:
        raise UserError(f"{experiment.name}: the images differ in size; give the data set a size=(height, width)")
    pool, val, test, classes = counts(dataset)
    initial = experiment.initial_size
    if initial is None:
        initial = len(experiment.initial.choose(dataset, dataset.samples("train"), experiment.seed))  # type: ignore
    labeled = [initial + k * experiment.budget for k in range(experiment.rounds)]
    network = experiment.model.build(classes).eval()
    once = operations(network, size)
    validations = math.ceil(train.epochs / train.validate_every) if train.keep == "best" else 0
    trained = sum(train.epochs * train.steps(count, pool) for count in labeled) * train.batch_size
    found = [
        Part("train", size, trained, 3 * once, train.batch_size,
             lambda: bench.train(experiment.model, experiment.task, train, size, classes)),
        Part("evaluate", size, experiment.rounds * (test + validations * val), once, train.evaluation_batch_size,
             lambda: bench.forward(network, lambda x: experiment.task.predict(network, x, size),
                                       train.evaluation_batch_size, size)),
    ]  # fmt: skip
    if isinstance(strategy, VAAL):
        small = strategy.size or size
        vae = strategy.build(small)[0].eval()
        whole, encoder = operations(vae, small), operations(vae.encode, small)  # type: ignore[arg-type]
        batch = 2 * strategy.batch_size * strategy.vae_steps
        steps = (strategy.epochs * math.ceil((pool if strategy.epoch_of == "pool" else count) / strategy.batch_size)
                 for count in labeled[:-1])  # fmt: skip
        found += [
            Part("VAAL", small, sum(steps) * batch, 3 * whole + encoder / strategy.vae_steps, batch,
                 lambda: bench.vaal(strategy, small)),
            Part("score", small, pool * (experiment.rounds - 1), encoder, train.evaluation_batch_size,
                 lambda: bench.forward(vae, lambda x: vae.encode(x)[0],  # type: ignore[operator]
                                           train.evaluation_batch_size, small)),
        ]  # fmt: skip
    return found


def main(
    configs: tyro.conf.Positional[tuple[Path, ...]] = (),
    steps: int = 5,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] | None = None,
) -> None:
    """Measure.

    Args:
        configs: of runs.
        steps: timed, of each training and pass; 0 only counts.
        accelerator: where.
        precision: of all trainings and passes; each config's own if not given.
    """
    if steps < 0:
        raise UserError(f"--steps must be 0 or more, not {steps}")
    overrides = ["--precision", precision] if precision else []
    runs = [load(path, overrides, Experiment) for path in configs or PAPER]
    print(f"PyTorch {torch.__version__}; {steps} steps of each, after {WARM_UP}")
    print(f"{'run':20} {'part':8} {'input':>9} {'batch':>5} {'10^6 images':>11} {'GFLOP/image':>11} {'10^15 FLOP':>10} "
          f"{'images/s':>8} {'TFLOP/s':>7} {'GiB':>5} {'hours':>8}  device, precision")  # fmt: skip
    for run in runs:
        hours = 0.0
        bench = Bench(Machine(accelerator=accelerator).fabric(run.train.precision), steps)
        for part in parts(run, bench):
            row = (f"{run.name:20} {part.name:8} {part.size[0]:4}x{part.size[1]:<4} {part.batch:5} "
                   f"{part.images / 1e6:11.3f} {part.operations / 1e9:11.2f} "
                   f"{part.images * part.operations / 1e15:10.2f}")  # fmt: skip
            if steps:
                rate, memory = bench.rate(part)
                spent = part.images / rate / 3600
                hours += spent
                row += (f" {rate:8.2f} {rate * part.operations / 1e12:7.3f} {memory:>5} {spent:8.2f}  "
                        f"{bench.name}, {run.train.precision}")  # fmt: skip
            print(row, flush=True)
        if steps:
            print(f"{run.name:20} all {hours:103.2f}")


if __name__ == "__main__":
    run_tool(lambda: tyro.cli(main, description=__doc__))
