"""Time to score a pool, as a multiple of the floor: loading the images plus one pass of the network it needs.

    python tools/benchmark_sampling.py [--data camvid] [--repeats 5]

The floor is a plain loop over the same images and network. Strategy and floor take turns, so that a machine whose
speed drifts slows both; the ratio is the median over the pairs. Training of VAAL's networks is not in it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
import tyro
from lightning_fabric import Fabric

from seg_al import SMP, VAAL, CamVid, Entropy, Random, Segmentation, Streets
from seg_al.config import run_tool
from seg_al.data.base import SegmentationDataset
from seg_al.data.views import ImageView, to_input
from seg_al.phase import Phase
from seg_al.round import Round
from seg_al.strategies.base import highest
from seg_al.streams import generator


def main(
    data: Literal["streets", "camvid"] = "streets",
    size: tuple[int, int] = (120, 160),
    vaal_size: tuple[int, int] = (96, 128),
    images: int = 200,
    budget: int = 20,
    repeats: int = 5,
    batch_size: int = 8,
) -> None:
    """Measure sampling.

    Args:
        data: images drawn, or read from CamVid's JPEG files in $SEG_AL_DATA.
        size: height and width of the task model's input.
        vaal_size: height and width of the VAE's input.
        images: unlabeled images.
        budget: images asked for.
        repeats: measurements of each.
        batch_size: images a batch.
    """
    dataset: SegmentationDataset
    dataset = CamVid(size=size) if data == "camvid" else Streets(train=images, native=size, size=size)
    samples = dataset.samples("train")
    unlabeled = ImageView(samples.image, samples.ids, range(min(images, len(samples))), size)
    fabric = Fabric(accelerator="cpu")
    network = SMP(encoder="tu-tf_efficientnet_lite0").build(len(dataset.class_names)).eval()
    vaal = VAAL(size=vaal_size)
    vae, discriminator = (part.eval() for part in vaal.build(vaal_size))

    def new_round() -> Round:
        return Round(network, Segmentation(), unlabeled.subset([0]), unlabeled, generator(0, "strategy"), 0, fabric,
                     "benchmark", batch_size, 0, lambda name: Phase(name, fabric, (0, 0)),
                     lambda k, bootstrap: (network, 0.0))  # fmt: skip

    @torch.no_grad()
    def floor(view: ImageView, forward: Callable[[torch.Tensor], Any]) -> None:
        for start in range(0, len(view), batch_size):
            batch = [view[i] for i in range(start, min(start + batch_size, len(view)))]
            forward(to_input(torch.stack(batch), "cpu"))

    def sample_vaal() -> None:
        round = new_round()
        rows = vaal.posteriors(round, vae, discriminator, unlabeled.at(vaal_size))
        highest(vaal.scores(rows).numpy(), budget, round.rng)

    floors = {
        "task model": lambda: floor(unlabeled, lambda x: network.forward_head(network.forward_features(x))),
        "VAE encoder": lambda: floor(unlabeled.at(vaal_size), vae.encode),  # type: ignore[arg-type]
    }
    strategies: dict[str, tuple[str, Callable[[], Any]]] = {
        "Random": ("task model", lambda: Random().select(new_round(), budget)),
        "Entropy": ("task model", lambda: Entropy().select(new_round(), budget)),
        "VAAL": ("VAE encoder", sample_vaal),
    }
    print(f"{data} {size[0]}x{size[1]} (VAAL {vaal_size[0]}x{vaal_size[1]}), {len(unlabeled)} images, budget {budget}, "
          f"{torch.get_num_threads()} threads, medians of {repeats}")  # fmt: skip
    print(f"{'strategy':10} {'seconds':>8} {'floor':>8} {'ratio':>6}  floor: loading and one pass of the")
    for name, (kind, sample) in strategies.items():
        seconds(floors[kind]), seconds(sample)  # warm both up
        pairs = [(seconds(floors[kind]), seconds(sample)) for _ in range(repeats)]
        base, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"{name:10} {ours:8.3f} {base:8.3f} {ratio:6.3f}  {kind}")


def seconds(work: Callable[[], Any]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    run_tool(lambda: tyro.cli(main, description=__doc__))
