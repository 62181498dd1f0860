"""A Round to test strategies on, without a loop around it."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning_fabric import Fabric
from tiny import TinyModel, TinyScenes

from seg_al import Segmentation
from seg_al.data.views import ImageView
from seg_al.phase import Phase
from seg_al.round import Round
from seg_al.streams import generator


def make_round(
    labeled: list[int] | None = None,
    unlabeled: list[int] | None = None,
    dataset: TinyScenes | None = None,
    folder: Path | None = None,
    **changes: object,
) -> Round:
    """Return a round over `TinyScenes` whose model has random weights; settings may be changed by name."""
    dataset = dataset or TinyScenes(size=(32, 32))
    samples = dataset.samples("train")
    fabric = Fabric(accelerator="cpu")

    def view(indices: list[int]) -> ImageView:
        return ImageView(samples.image, samples.ids, indices, dataset.input_size)

    torch.manual_seed(0)
    settings: dict = {
        "model": TinyModel().build(3).eval().requires_grad_(False),
        "task": Segmentation(),
        "labeled": view(list(range(8)) if labeled is None else labeled),
        "unlabeled": view(list(range(8, dataset.train)) if unlabeled is None else unlabeled),
        "rng": generator(0, 0, "strategy"),
        "seed": 0,
        "fabric": fabric,
        "title": "round 1/1",
        "batch_size": 4,
        "workers": 0,
        "new_phase": lambda name: Phase(name, fabric, (0, 0), folder, name),
    }
    return Round(**{**settings, **changes})
