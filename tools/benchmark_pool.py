"""Peak memory of a query against the size of the pool: pixels are reduced batch by batch, so it should hardly grow.

    python tools/benchmark_pool.py [--images 10000 100000] [--size 64 64]

Each size and strategy runs in a process of its own, on synthetic images and a small network.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from seg_al import BALD, CoreSet, Entropy, Segmentation
from seg_al.config import UserError, run_tool
from seg_al.data.views import ImageView
from seg_al.models.base import SegmentationNetwork
from seg_al.round import Round
from seg_al.strategies.base import Strategy

STRATEGIES: dict[str, Strategy] = {"Entropy": Entropy(), "BALD": BALD(), "CoreSet": CoreSet()}


class Small(SegmentationNetwork):
    """Two convolutions to 64 channels at a quarter of the side, dropout, 19 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 64, 3, 2, 1), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(64, 19, 1))

    def forward_features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features)


LABELED, BATCH = 100, 64


class Ids:
    """Names of as many images, made when read."""

    def __getitem__(self, index: int) -> str:
        return f"image{index:07d}"


def query(answer: Any, name: str, images: int, size: tuple[int, int], budget: int) -> None:
    """Put peak memory (MiB) before and after a query, and its seconds, on a queue."""

    def read(index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 255, (*size, 3), dtype=np.uint8)

    network = Small().eval().requires_grad_(False)
    labeled, unlabeled = (ImageView(read, Ids(), i, size) for i in (range(LABELED), range(LABELED, images)))  # type: ignore[arg-type]
    made = Round(network, Segmentation(), labeled, unlabeled, batch_size=BATCH)
    made.map(lambda x: network(x).flatten(1).mean(1), unlabeled.subset(range(BATCH)))  # what a batch takes anyway
    before, start = peak(), time.perf_counter()
    STRATEGIES[name].select(made, budget)
    answer.put((before, peak(), time.perf_counter() - start))


def peak() -> float:
    """Return this process's highest memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(images: tuple[int, ...] = (10_000, 100_000), size: tuple[int, int] = (64, 64), budget: int = 500) -> None:
    """Print a line for each strategy and size of pool.

    Args:
        images: sizes of the pool.
        size: height and width of the images.
        budget: images asked for.
    """
    if min(images) < (least := LABELED + max(BATCH, budget)):
        raise UserError(f"--images must be at least {least}, not {min(images)}")
    print(f"{size[0]}x{size[1]}, budget {budget}, {torch.get_num_threads()} threads; peak memory before and after, MiB")
    print(f"{'strategy':9} {'images':>8} {'before':>7} {'after':>7} {'more':>6} {'B an image':>10} {'seconds':>8}")
    spawn = multiprocessing.get_context("spawn")
    for name in STRATEGIES:
        for count in images:
            answer: Any = spawn.SimpleQueue()
            process = spawn.Process(target=query, args=(answer, name, count, size, budget))
            process.start()
            process.join()
            before, after, seconds = answer.get()
            more = after - before
            row = f"{name:9} {count:8d} {before:7.0f} {after:7.0f} {more:6.0f} {more * 2**20 / count:10.0f}"
            print(f"{row} {seconds:8.1f}", flush=True)


if __name__ == "__main__":
    run_tool(lambda: tyro.cli(main, description=__doc__))
