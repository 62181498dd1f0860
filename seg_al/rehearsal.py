"""A rehearsal of a run's steps on a few images: settings that do not fit show before anything is trained."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric
from torch import nn

from seg_al.config import UserError
from seg_al.data.base import Samples, Split
from seg_al.data.views import EvaluationView, ImageView, LabeledView, evaluation_images, to_input
from seg_al.oracle import Labels
from seg_al.phase import Phase
from seg_al.pool import Pool
from seg_al.processes import alone
from seg_al.round import Round

if TYPE_CHECKING:
    from seg_al.experiment import Experiment
    from seg_al.own_pool import OwnPool

IMAGES = 2
"""Images in a rehearsed batch: as many as a BatchNorm needs, where the run's own batch holds so many."""


def rehearse(
    experiment: Experiment,
    fabric: Fabric,
    samples: Mapping[Split, Samples],
    labels: Labels,
    initial: Sequence[int],
) -> None:
    """Compute a loss, predict an image of each split, and let the strategy check a round; in one process, no step.

    Args:
        labels: the oracle's.
        initial: the initial pool.

    Raises:
        UserError: data set, model, task, strategy and sizes do not fit together.
    """
    dataset, task = experiment.dataset, experiment.task
    view = LabeledView(dataset, samples["train"], labels.target, initial)
    network = rehearse_training(experiment, fabric, view).eval()
    with torch.no_grad(), fabric.autocast():
        for listed in (listed for split, listed in samples.items() if split != "train"):
            image, target = EvaluationView(dataset, listed)[0]
            with _told(f"{_together(experiment)} cannot be evaluated on {listed.ids[0]}"):
                predicted = task.predict(network, to_input(image[None], fabric.device), target.shape)
                task.metric(len(dataset.class_names)).update(predicted.cpu(), target[None])
        if experiment.rounds > 1:
            pool = samples["train"]
            labeled = evaluation_images(dataset, pool, initial)
            unlabeled = evaluation_images(dataset, pool, Pool(pool.ids, tuple(initial)).unlabeled)
            rehearse_query(experiment, fabric, network, labeled, unlabeled, experiment.budget * (experiment.rounds - 1))


def rehearse_training(trained: Experiment | OwnPool, fabric: Fabric, view: LabeledView) -> nn.Module:
    """Compute a loss on the first images of a batch; return the network, in training mode.

    Raises:
        UserError: data set, model, task and sizes do not fit together.
    """
    task, settings = trained.task, trained.train
    network = trained.model.build(len(trained.dataset.class_names)).to(fabric.device)
    phase = Phase("rehearsal", fabric, (trained.seed, 0))
    phase.begin(1, 1)
    images, targets = next(phase.batches(view, "labeled", settings.batch_size, parts=settings.accumulate))
    images, targets = images[:IMAGES], targets[:IMAGES]
    if task.label_dims not in (None, targets.dim() - 1):
        kinds = {1: "classes of images; set task=Classification()", 3: "masks; set task=Segmentation()"}
        found = kinds.get(targets.dim(), f"of shape {tuple(targets.shape[1:])}")
        raise UserError(f"task is {type(task).__name__}, but the data set's labels are {found}")
    size = f"{images.shape[-2]}x{images.shape[-1]}"
    with (
        _told(f"{_together(trained)} cannot be trained on batches of {len(images)} images of {size}"),
        torch.no_grad(),
        fabric.autocast(),
    ):
        task.loss(network.train(), to_input(images, fabric.device), targets.to(fabric.device))
    return network


def rehearse_query(
    trained: Experiment | OwnPool,
    fabric: Fabric,
    network: nn.Module,
    labeled: ImageView,
    unlabeled: ImageView,
    wanted: int,
) -> None:
    """Let the strategy check a round; the members of a committee are all the one network.

    Args:
        network: not trained, in eval mode.
        wanted: images that will be asked for.

    Raises:
        UserError: it cannot choose in such rounds.
    """
    round = Round(
        model=network,
        task=trained.task,
        labeled=labeled,
        unlabeled=unlabeled,
        seed=trained.seed,
        fabric=alone(fabric),
        title="rehearsal",
        new_phase=lambda name: Phase(name, fabric, (trained.seed, 0)),
        new_member=lambda k, bootstrap: (network, 0.0),
    )
    with _told(f"{type(trained.strategy).__name__} cannot choose"), torch.no_grad(), fabric.autocast():
        trained.strategy.check(round, wanted)


def _together(trained: Experiment | OwnPool) -> str:
    return f"{type(trained.model).__name__} and {type(trained.task).__name__}"


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn an error of any kind into a line: what cannot be done, why, and where in the user's or our own code."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        installed = [Path(sysconfig.get_path(key)) for key in ("purelib", "platlib", "stdlib")]
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if not any(Path(f.filename).is_relative_to(place) for place in installed)] or frames
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{what}: {reason} (at {own[-1].filename}:{own[-1].lineno}); change the data set's size, the batch size, "
            "the model, the task or the strategy"
        ) from error
