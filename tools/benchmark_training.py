"""Cost of training through the package, as a multiple of a bare PyTorch loop over batches held in memory.

    python tools/benchmark_training.py [--steps 12] [--repeats 5]

Both train the same network with the same optimizer. The package reads, resizes and flips its images; the bare loop
has ready batches. They take turns, so that a machine whose speed drifts slows both; the ratio is that of medians.
"""

from __future__ import annotations

import statistics
import time
from typing import Literal

import torch
import tyro
from lightning_fabric import Fabric

from seg_al import DRN, SMP, CamVid, Segmentation, Streets, Train
from seg_al.config import run_tool
from seg_al.data.base import SegmentationDataset
from seg_al.data.views import LabeledView, to_input
from seg_al.phase import Phase
from seg_al.training import fit, make_optimizer


def main(
    data: Literal["streets", "camvid"] = "streets",
    model: Literal["lite0", "drn"] = "drn",
    size: tuple[int, int] = (120, 160),
    batch_size: int = 8,
    steps: int = 8,
    repeats: int = 5,
) -> None:
    """Measure training.

    Args:
        data: images drawn, or read from CamVid's JPEG files in $SEG_AL_DATA.
        model: FPN on EfficientNet-lite0, or DRN-D-22; random weights.
        size: height and width of the network's input.
        batch_size: images a step.
        steps: optimizer steps a measurement.
        repeats: measurements of each.
    """
    dataset: SegmentationDataset
    dataset = CamVid(size=size) if data == "camvid" else Streets(train=200, native=size, size=size)
    network = (DRN() if model == "drn" else SMP(encoder="tu-tf_efficientnet_lite0")).build(len(dataset.class_names))
    samples = dataset.samples("train")
    view = LabeledView(dataset, samples, lambda i: samples.target(i), range(min(200, len(samples))))  # type: ignore
    task, settings = Segmentation(), Train(epochs=1, epoch_of="pool", batch_size=batch_size)

    def bare() -> float:
        pairs = [[view[(step * batch_size + k) % len(view), 0] for k in range(batch_size)] for step in range(steps)]
        batches = [tuple(torch.stack(part) for part in zip(*pair, strict=True)) for pair in pairs]
        optimizer = make_optimizer(settings, network)
        network.train().requires_grad_(True)
        start = time.perf_counter()
        for images, targets in batches:
            task.loss(network, to_input(images, "cpu"), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - start

    def package() -> float:
        network.requires_grad_(True)
        phase = Phase("train", Fabric(accelerator="cpu"), (0, 0), title="benchmark")
        start = time.perf_counter()
        fit(task, network, view, settings, phase, pool_size=steps * batch_size)
        return time.perf_counter() - start

    bare(), package()  # warm both up
    pairs = [(bare(), package()) for _ in range(repeats)]
    floor, ours = (statistics.median(times) / steps for times in zip(*pairs, strict=True))
    ratios = sorted(b / a for a, b in pairs)
    print(f"{model}, {data} {size[0]}x{size[1]}, batches of {batch_size}, {torch.get_num_threads()} threads")
    print(f"bare loop {floor:.3f} s a step, package {ours:.3f} s a step")
    print(f"ratio {statistics.median(ratios):.3f} (from {ratios[0]:.3f} to {ratios[-1]:.3f} in {repeats} pairs)")


if __name__ == "__main__":
    run_tool(lambda: tyro.cli(main, description=__doc__))
