"""Peak memory and time of one training step at the paper's size, 688x688, on the CPU.

python tools/benchmark_memory.py drn
python tools/benchmark_memory.py vaal
"""

from __future__ import annotations

import resource
import time
from typing import Literal

import torch
import tyro

from seg_al import DRN, VAAL, Segmentation
from seg_al.config import run_tool


def main(
    what: tyro.conf.Positional[Literal["drn", "vaal"]], batch_size: int = 2, size: tuple[int, int] = (688, 688)
) -> None:
    """Measure one step, with the optimizer's.

    Args:
        what: DRN-D-22, or VAAL's VAE and discriminator (as many labeled as unlabeled images).
        batch_size: images.
        size: height and width.
    """
    start = time.perf_counter()
    if what == "drn":
        network = DRN().build(19)
        optimizer = torch.optim.Adam(network.parameters())
        targets = torch.randint(0, 19, (batch_size, *size))
        Segmentation().loss(network, torch.rand(batch_size, 3, *size), targets).backward()
        optimizer.step()
    else:
        strategy = VAAL.paper()
        vae, discriminator = strategy.build(size)
        images = torch.rand(2 * batch_size, 3, *size)
        for network, loss in (
            (vae, lambda: sum(strategy.vae_losses(vae, discriminator, images))),
            (discriminator, lambda: strategy.discriminator_loss(vae, discriminator, images)),
        ):
            optimizer = torch.optim.Adam(network.parameters())
            loss().backward()  # type: ignore[union-attr]
            optimizer.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{what}: batch {batch_size} at {size[0]}x{size[1]}, {time.perf_counter() - start:.1f} s, peak {peak:.2f} GiB"
    )


if __name__ == "__main__":
    run_tool(lambda: tyro.cli(main, description=__doc__))
