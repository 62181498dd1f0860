"""Fit and evaluate a task model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR, PolynomialLR

from seg_al.config import Component, UserError
from seg_al.data.base import Dataset, Samples
from seg_al.data.views import EvaluationView, LabeledView, load_in_order, to_input
from seg_al.phase import Phase
from seg_al.processes import share, synchronize
from seg_al.reporting.progress import Progress
from seg_al.tasks.base import Metric, Task


class Train(Component):
    """How the task model is trained, from new weights in every round."""

    epochs: int = 50
    """Passes over what `epoch_of` says."""

    epoch_of: Literal["labeled", "pool"] = "labeled"
    """What an epoch counts: the labeled images (training grows with them), or as many images as the pool
    holds (every round takes the same number of steps, as in the code released with VAAL)."""

    batch_size: int = 8
    """Images an optimizer step, over all processes."""

    accumulate: int = 1
    """Pieces a batch is computed in, one after the other: less memory, the same batch."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimizer; sgd has Nesterov momentum."""

    lr: float = 1e-3
    """Highest learning rate."""

    weight_decay: float = 0.0
    """Weight decay (decoupled for adamw)."""

    momentum: float = 0.9
    """Momentum of sgd; 0 for none."""

    schedule: Literal["constant", "poly", "one_cycle", "step"] = "constant"
    """Learning rate over the steps: constant; poly: (1 - t)^0.9; one_cycle: up from a 25th in 30 % of the steps,
    then down to nearly 0 (Smith & Topin 2018); step: a tenth after 50 % and again after 75 %."""

    clip: float | None = None
    """Largest norm of the gradient; None does not clip."""

    precision: Annotated[Literal["32-true", "16-mixed", "bf16-mixed"], tyro.conf.arg(aliases=["--precision"])] = (
        "32-true"
    )
    """Numerical precision of all training and scoring."""

    keep: Literal["last", "best"] = "last"
    """Which weights to keep: those of the last epoch, or of the one best on the validation split."""

    validate_every: int = 1
    """Epochs between validations where keep is best."""

    evaluation_batch_size: int = 8
    """Images a batch in evaluation and scoring; changes speed alone."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "validate_every", "evaluation_batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"Train.{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.lr < math.inf:
            raise UserError(f"Train.lr must be above 0 and finite, not {self.lr}")
        if self.clip is not None and not self.clip > 0:
            raise UserError(f"Train.clip must be above 0, or None, not {self.clip}")
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"Train.weight_decay must be at least 0, not {self.weight_decay}")
        if not 0 <= self.momentum < 1:
            raise UserError(f"Train.momentum must be in [0, 1), not {self.momentum}")

    def steps(self, labeled: int, pool: int) -> int:
        """Return optimizer steps an epoch, for this many labeled images in a pool of that many."""
        return max(1, math.ceil((labeled if self.epoch_of == "labeled" else pool) / self.batch_size))


def make_optimizer(settings: Train, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer the settings name."""
    lr, decay = settings.lr, settings.weight_decay
    if settings.optimizer == "sgd":
        momentum = settings.momentum
        return torch.optim.SGD(network.parameters(), lr, momentum, weight_decay=decay, nesterov=momentum > 0)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(network.parameters(), lr, weight_decay=decay)


def make_schedule(settings: Train, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    """Return the learning-rate schedule the settings name, over so many optimizer steps."""
    if settings.schedule == "poly":
        return PolynomialLR(optimizer, steps, power=0.9)
    if settings.schedule == "one_cycle":
        return OneCycleLR(optimizer, settings.lr, total_steps=steps, cycle_momentum=False)
    milestones = [steps // 2, steps * 3 // 4] if settings.schedule == "step" else []
    return MultiStepLR(optimizer, milestones, gamma=0.1)


class Best:
    """The best weights so far, by validation score; part of the checkpoint."""

    def __init__(self) -> None:
        self.score = -math.inf
        self.weights: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.score, self.weights = state["score"], state["weights"]


def fit(
    task: Task,
    network: nn.Module,
    view: LabeledView,
    settings: Train,
    phase: Phase,
    pool_size: int,
    validate: Any = None,
) -> nn.Module:
    """Train `network` on a labeled view, in place; return it in eval mode, equal on every process.

    Args:
        pool_size: images in the whole pool, for ``epoch_of="pool"``.
        validate: returns a score for a network, higher is better; needed where ``keep="best"``.

    Raises:
        UserError: a loss is not finite; names round, epoch and batch.
    """
    fabric = phase.fabric
    steps = settings.steps(len(view), pool_size)
    optimizer = make_optimizer(settings, network)
    schedule = make_schedule(settings, optimizer, steps * settings.epochs)
    network.train()
    wrapped, fabric_optimizer = fabric.setup(network, optimizer)
    best = Best()
    phase.begin(settings.epochs, steps, network=network, optimizer=optimizer, schedule=schedule, best=best)
    batches = phase.batches(view, "labeled", settings.batch_size, parts=settings.accumulate)
    for epoch in phase.epochs():
        for _ in range(steps):
            loss = torch.zeros((), device=fabric.device)
            for part in range(settings.accumulate):
                images, targets = next(batches)
                last = part == settings.accumulate - 1
                with fabric.no_backward_sync(wrapped, enabled=not last):
                    piece = task.loss(wrapped, to_input(images, fabric.device), targets.to(fabric.device))
                    fabric.backward(piece / settings.accumulate)
                loss += piece.detach() / settings.accumulate
            if settings.clip is not None:
                fabric.clip_gradients(wrapped, fabric_optimizer, max_norm=settings.clip, error_if_nonfinite=False)
            fabric_optimizer.step()
            fabric_optimizer.zero_grad()
            schedule.step()
            phase.step(loss=loss)
        if validate and ((epoch + 1) % settings.validate_every == 0 or epoch + 1 == settings.epochs):
            score = validate(network.eval())
            network.train()
            if score > best.score:
                best.score = score
                best.weights = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
    if best.weights:
        network.load_state_dict(best.weights)
    phase.check_finite(network)
    synchronize(network, fabric)
    return network.eval().requires_grad_(False)


def member_name(k: int, bootstrap: bool) -> str:
    """Return the name of a committee member's training, see `Round.train_member`."""
    return f"{'bootstrap' if bootstrap else 'member'}{k}"


def member_samples(labeled: Sequence[int], bootstrap: bool, phase: Phase) -> list[int]:
    """Return the samples that a committee member is trained on: all, or as many, drawn with replacement."""
    if not bootstrap:
        return list(labeled)
    return np.asarray(labeled)[phase.rng("bootstrap").integers(0, len(labeled), len(labeled))].tolist()


@torch.no_grad()
def evaluate(
    task: Task,
    network: nn.Module,
    dataset: Dataset,
    samples: Samples,
    fabric: Fabric,
    batch_size: int,
    workers: int,
    title: str,
) -> Metric:
    """Return the task's metric of a network over a whole split, at the targets' own resolution."""
    metric = task.metric(len(dataset.class_names))
    _, mine = share(len(samples), batch_size, fabric)
    with Progress(title, total=len(mine), unit="batch", enabled=fabric.is_global_zero) as bar, fabric.autocast():
        for groups in load_in_order(EvaluationView(dataset, samples), mine, workers):
            for _, images, targets in groups:
                predicted = task.predict(network, to_input(images, fabric.device), targets.shape[1:])
                metric.update(predicted.cpu(), targets)
            bar.update(1)
    if fabric.world_size > 1:
        metric.matrix = fabric.all_reduce(metric.matrix, reduce_op="sum")  # type: ignore[assignment]
    return metric
