"""Time to choose a query with each strategy, as a multiple of the floor: loading the images and one pass of a network.

    python tools/benchmark_sampling.py [--data camvid] [--repeats 5] [--only Entropy VAAL]

A table like the VAAL paper's Table 1. The floor is a plain loop over the same images and the network that the
strategy needs. Strategy and floor take turns, so that a machine whose speed drifts slows both; the ratio is the median
over the pairs. Training, of VAAL's networks or of a committee, is not in it: the networks have random weights.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro
from lightning_fabric import Fabric
from torch import nn

import seg_al
from seg_al import DRN, SMP, VAAL, CamVid, Segmentation, Streets
from seg_al.config import UserError, nearest, run_tool
from seg_al.data.base import SegmentationDataset
from seg_al.data.views import ImageView, to_input
from seg_al.round import Round
from seg_al.strategies.base import Strategy, highest

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
class Row:
    """What is measured: the sampling, the floor beside it, the floor's network, and the highest ratio aimed at."""

    sample: Callable[[], Any]
    floor: Callable[[], Any]
    network: str
    goal: float | None


def main(
    data: Literal["streets", "camvid"] = "streets",
    model: Literal["lite0", "drn"] = "lite0",
    size: tuple[int, int] = (120, 160),
    vaal_size: tuple[int, int] = (96, 128),
    images: int = 200,
    labeled: int = 20,
    budget: int = 20,
    repeats: int = 5,
    batch_size: int = 8,
    only: tuple[str, ...] = (),
) -> None:
    """Measure sampling.

    Args:
        data: images drawn, or read from CamVid's JPEG files in $SEG_AL_DATA.
        model: the task model, EfficientNet-Lite0 with an FPN, or DRN-D-22.
        size: height and width of the task model's input.
        vaal_size: height and width of the VAE's input.
        images: unlabeled images.
        labeled: labeled images; strategies that look at them too take that much longer.
        budget: images asked for.
        repeats: measurements of each.
        batch_size: images a batch.
        only: names of the strategies to measure; all where none is given.
    """
    dataset: SegmentationDataset
    dataset = CamVid(size=size) if data == "camvid" else Streets(train=images + labeled, native=size, size=size)
    samples = dataset.samples("train")
    last = min(images + labeled, len(samples))
    known, unlabeled = (ImageView(samples.image, samples.ids, i, size) for i in (range(labeled), range(labeled, last)))
    fabric = Fabric(accelerator="cpu")

    def network() -> nn.Module:
        built = SMP(encoder="tu-tf_efficientnet_lite0") if model == "lite0" else DRN()
        return built.build(len(dataset.class_names)).eval().requires_grad_(False)

    members = [network() for _ in range(MEMBERS)]
    vaal = VAAL(size=vaal_size)
    vae, discriminator = (part.eval().requires_grad_(False) for part in vaal.build(vaal_size))

    def new_round() -> Round:
        return Round(members[0], Segmentation(), known, unlabeled, fabric=fabric, batch_size=batch_size,
                     new_member=lambda k, _: (members[k], 0.0))  # fmt: skip

    @torch.no_grad()
    def floor(view: ImageView, forward: Callable[[torch.Tensor], Any]) -> None:
        for start in range(0, len(view), batch_size):
            batch = [view[i] for i in range(start, min(start + batch_size, len(view)))]
            forward(to_input(torch.stack(batch), "cpu"))

    def sample_vaal() -> None:
        round = new_round()
        rows = vaal.posteriors(round, vae, discriminator, unlabeled.at(vaal_size))
        highest(vaal.scores(rows).numpy(), budget, round.rng)

    def task_floor() -> None:
        floor(unlabeled, lambda x: members[0].forward_head(members[0].forward_features(x)))  # type: ignore[operator]

    rows = {
        name: Row(lambda s=strategy: s.select(new_round(), budget), task_floor, "task model", goal)  # type: ignore[misc]
        for name, (strategy, goal) in STRATEGIES.items()
    }
    vae_floor = lambda: floor(unlabeled.at(vaal_size), vae.encode)  # type: ignore[arg-type] # noqa: E731
    rows["VAAL"] = Row(sample_vaal, vae_floor, "VAE encoder", 1.15)
    for name in only:
        if name not in rows:
            raise UserError(f"no strategy {name!r} here{nearest(name, list(rows))}")
    sizes = f"{size[0]}x{size[1]}, {model} (VAAL {vaal_size[0]}x{vaal_size[1]})"
    pool = f"{len(unlabeled)} unlabeled and {len(known)} labeled images, budget {budget}"
    print(f"{data} {sizes}, {pool}, {torch.get_num_threads()} threads, medians of {repeats}")
    print(f"{'strategy':21} {'seconds':>8} {'floor':>8} {'ratio':>6} {'goal':>5}  floor: loading and one pass of the")
    for name, row in rows.items():
        if only and name not in only:
            continue
        seconds(row.floor), seconds(row.sample)  # warm both up
        pairs = [(seconds(row.floor), seconds(row.sample)) for _ in range(repeats)]
        base, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        goal = f"{row.goal:5.2f}" if row.goal else " " * 5
        print(f"{name:21} {ours:8.3f} {base:8.3f} {ratio:6.3f} {goal}  {row.network}", flush=True)


def seconds(work: Callable[[], Any]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    run_tool(lambda: tyro.cli(main, description=__doc__))
