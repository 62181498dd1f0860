"""A Round to test strategies on, without a loop around it."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning_fabric import Fabric
from tiny import TinyClassifier, TinyModel, TinyScenes

from seg_al import Classification, Segmentation
from seg_al.data.views import ImageView
from seg_al.phase import Phase
from seg_al.round import Round
from seg_al.streams import generator


def make_round(
    labeled: list[int] | None = None,
    unlabeled: list[int] | None = None,
    dataset: TinyScenes | None = None,
    folder: Path | None = None,
    classify: bool = False,
    **changes: object,
) -> Round:
    """Return a round over `TinyScenes` whose model has random weights; settings may be changed by name.

    Its task is segmentation, or to classify the images as a whole.
    """
    dataset = dataset or TinyScenes(size=(32, 32))
    samples = dataset.samples("train")
    fabric = Fabric(accelerator="cpu")

    def view(indices: list[int]) -> ImageView:
        return ImageView(samples.image, samples.ids, indices, dataset.input_size)

    def member(k: int, bootstrap: bool) -> tuple[torch.nn.Module, float]:
        torch.manual_seed(100 + 2 * k + bootstrap)
        return model.build(3).eval().requires_grad_(False), 1.0

    model = TinyClassifier() if classify else TinyModel()
    torch.manual_seed(0)
    settings: dict = {
        "model": model.build(3).eval().requires_grad_(False),
        "task": Classification() if classify else Segmentation(),
        "labeled": view(list(range(8)) if labeled is None else labeled),
        "unlabeled": view(list(range(8, dataset.train)) if unlabeled is None else unlabeled),
        "rng": generator(0, 0, "strategy"),
        "seed": 0,
        "fabric": fabric,
        "title": "round 1/1",
        "batch_size": 4,
        "workers": 0,
        "new_phase": lambda name: Phase(name, fabric, (0, 0), folder, name),
        "new_member": member,
    }
    return Round(**{**settings, **changes})
