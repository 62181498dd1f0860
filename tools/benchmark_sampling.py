"""Time to choose a query with each strategy, as a multiple of the floor: loading the images and one pass of a network.

    python tools/benchmark_sampling.py [--data camvid] [--repeats 5] [--only Entropy VAAL]
    python tools/benchmark_sampling.py --data cifar10 --images 4000 --labeled 400 --budget 200 --batch-size 64

A table like the VAAL paper's Table 1, which is of CIFAR10. The floor is a plain loop over the same images and the
network that the strategy needs. Strategy and floor take turns, so that a machine whose speed drifts slows both; the
ratio is the median over the pairs. Training, of VAAL's networks or of a committee, is not in it: the networks have
random weights. Random looks at no image, so that seconds are seconds above it; the ratio to it has a column.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import tyro
from lightning_fabric import Fabric
from torch import nn

import seg_al
from seg_al import CIFAR10, DRN, SMP, VAAL, VGG, CamVid, Classification, ResNet, Segmentation, Streets
from seg_al.config import UserError, nearest, run_tool
from seg_al.data.base import ImageDataset
from seg_al.data.views import ImageView, to_input
from seg_al.models.base import Model
from seg_al.round import Round
from seg_al.strategies.base import Strategy, highest
from seg_al.tasks.base import Task

MEMBERS = 5
"""Networks in a committee."""

STRATEGIES: dict[str, tuple[Strategy, float | None]] = {
    # and the highest ratio aimed at
    "Random": (seg_al.Random(), None),
    "Entropy": (seg_al.Entropy(), 1.15),
    "LeastConfidence": (seg_al.LeastConfidence(), 1.15),
    "Margin": (seg_al.Margin(), 1.15),
    "MCDropout": (seg_al.MCDropout(passes=10), 1.3),
    "DBAL": (seg_al.DBAL(passes=10), 1.3),
    "BALD": (seg_al.BALD(passes=10), 1.3),
    "PowerBALD": (seg_al.PowerBALD(passes=10), 1.3),
    "PowerEntropy": (seg_al.PowerEntropy(), 1.15),
    "ClassBalancedEntropy": (seg_al.ClassBalancedEntropy(), None),
    "VariationRatio": (seg_al.VariationRatio(members=MEMBERS), 1.05 * MEMBERS),
    "QBC": (seg_al.QBC(members=MEMBERS), 1.05 * MEMBERS),
    "SuggestiveAnnotation": (seg_al.SuggestiveAnnotation(members=MEMBERS), None),
    "CoreSet": (seg_al.CoreSet(), 1.3),
    "BADGE": (seg_al.BADGE(), None),
    "TypiClust": (seg_al.TypiClust(), None),
    "ProbCover": (seg_al.ProbCover(), None),
    "CDAL": (seg_al.CDAL(), None),
}


@dataclass(frozen=True)
class Setting:
    """What goes with data: the task, its models (the first unless one is chosen), and the inputs' height and width."""

    task: Task
    models: dict[str, Model]
    size: tuple[int, int]
    vaal_size: tuple[int, int]


def setting(data: str, width: float) -> Setting:
    """Return what goes with data of a name; `width` multiplies the channels of the models that classify."""
    if data == "cifar10":
        models: dict[str, Model] = {"resnet18": ResNet(width=width), "vgg16": VGG(width=width)}
        return Setting(Classification(), models, (32, 32), (32, 32))
    return Setting(
        Segmentation(), {"lite0": SMP(encoder="tu-tf_efficientnet_lite0"), "drn": DRN()}, (120, 160), (96, 128)
    )


@dataclass(frozen=True)
class Row:
    """What is measured: the sampling, the floor beside it, the floor's network, and the highest ratio aimed at."""

    sample: Callable[[], Any]
    floor: Callable[[], Any]
    network: str
    goal: float | None


def main(
    data: Literal["streets", "camvid", "cifar10"] = "streets",
    model: Literal["lite0", "drn", "resnet18", "vgg16"] | None = None,
    width: float = 0.25,
    size: tuple[int, int] | None = None,
    vaal_size: tuple[int, int] | None = None,
    vae: Literal["general", "auto"] = "general",
    images: int = 200,
    labeled: int = 20,
    budget: int = 20,
    repeats: int = 5,
    batch_size: int = 8,
    only: tuple[str, ...] = (),
) -> None:
    """Measure sampling.

    Args:
        data: images of streets, drawn, or read from CamVid's JPEG files in $SEG_AL_DATA, to segment; or CIFAR10's,
            from there too, in memory, to classify.
        model: the task model: EfficientNet-Lite0 with an FPN (if not given) or DRN-D-22; of CIFAR10 ResNet-18 (if
            not given) or VGG16 with BatchNorm.
        width: multiplies the number of channels of a ResNet or VGG.
        size: height and width of the task model's input; 120x160, or CIFAR10's 32x32, if not given.
        vaal_size: height and width of the VAE's input; 96x128, or 32x32, if not given.
        vae: VAAL's architecture; "auto" is the release's VAE at 32x32.
        images: unlabeled images.
        labeled: labeled images; strategies that look at them too take that much longer.
        budget: images asked for.
        repeats: measurements of each.
        batch_size: images a batch.
        only: names of the strategies to measure; all where none is given.
    """
    kind = setting(data, width)
    size, vaal_size = size or kind.size, vaal_size or kind.vaal_size
    chosen: str = model or next(iter(kind.models))
    if chosen not in kind.models:
        raise UserError(f"--model {chosen} does not suit {data}{nearest(chosen, list(kind.models))}")
    dataset: ImageDataset
    if data == "streets":
        dataset = Streets(train=images + labeled, native=size, size=size)
    else:
        dataset = (CamVid if data == "camvid" else CIFAR10)(size=size)
    samples = dataset.samples("train")
    order = np.random.default_rng(0).permutation(len(samples))[: images + labeled]  # CIFAR10 lists class after class
    known, unlabeled = (ImageView(samples.image, samples.ids, i, size) for i in (order[:labeled], order[labeled:]))
    fabric = Fabric(accelerator="cpu")

    def network() -> nn.Module:
        return kind.models[chosen].build(len(dataset.class_names)).eval().requires_grad_(False)

    members = [network() for _ in range(MEMBERS)]
    vaal = VAAL(size=vaal_size, architecture=vae)
    encoder, discriminator = (part.eval().requires_grad_(False) for part in vaal.build(vaal_size))

    def new_round() -> Round:
        return Round(members[0], kind.task, known, unlabeled, fabric=fabric, batch_size=batch_size,
                     new_member=lambda k, _: (members[k], 0.0))  # fmt: skip

    @torch.no_grad()
    def floor(view: ImageView, forward: Callable[[torch.Tensor], Any]) -> None:
        for start in range(0, len(view), batch_size):
            batch = [view[i] for i in range(start, min(start + batch_size, len(view)))]
            forward(to_input(torch.stack(batch), "cpu"))

    def sample_vaal() -> None:
        round = new_round()
        rows = vaal.posteriors(round, encoder, discriminator, unlabeled.at(vaal_size))
        highest(vaal.scores(rows).numpy(), budget, round.rng)

    def task_floor() -> None:
        floor(unlabeled, lambda x: members[0].forward_head(members[0].forward_features(x)))  # type: ignore[operator]

    rows = {
        name: Row(lambda s=strategy: s.select(new_round(), budget), task_floor, "task model", goal)  # type: ignore[misc]
        for name, (strategy, goal) in STRATEGIES.items()
    }
    vae_floor = lambda: floor(unlabeled.at(vaal_size), encoder.encode)  # type: ignore[arg-type] # noqa: E731
    rows["VAAL"] = Row(sample_vaal, vae_floor, "VAE encoder", 1.15)
    for name in only:
        if name not in rows:
            raise UserError(f"no strategy {name!r} here{nearest(name, list(rows))}")
    wide = f" of width {width:g}" if kind.task == Classification() else ""
    sizes = f"{size[0]}x{size[1]}, {chosen}{wide} (VAAL {vaal_size[0]}x{vaal_size[1]}, {vae} VAE)"
    pool = f"{len(unlabeled)} unlabeled and {len(known)} labeled images, budget {budget}"
    print(f"{data} {sizes}, {pool}, {torch.get_num_threads()} threads, medians of {repeats}")
    print(f"{'strategy':21} {'seconds':>8} {'Random':>7} {'floor':>8} {'ratio':>6} {'goal':>5}  "
          "floor: loading and one pass of the")  # fmt: skip
    rows["Random"].sample()
    random = statistics.median(seconds(rows["Random"].sample) for _ in range(repeats))
    for name, row in rows.items():
        if only and name not in only:
            continue
        seconds(row.floor), seconds(row.sample)  # warm both up
        pairs = [(seconds(row.floor), seconds(row.sample)) for _ in range(repeats)]
        base, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        goal = f"{row.goal:5.2f}" if row.goal else " " * 5
        against = "1x" if name == "Random" else times(ours, random)
        print(f"{name:21} {ours:8.4f} {against:>7} {base:8.3f} {ratio:6.3f} {goal}  {row.network}", flush=True)


def times(ours: float, random: float) -> str:
    """Return how many times Random's seconds ours are, to 1000: what lies beyond is as good as infinite."""
    return ">1000x" if ours > 1000 * random else f"{ours / random:.0f}x"


def seconds(work: Callable[[], Any]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    run_tool(lambda: tyro.cli(main, description=__doc__))
