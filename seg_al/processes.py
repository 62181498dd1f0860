"""What several processes share: batches to compute, and weights that are to be equal."""

from __future__ import annotations

from lightning_fabric import Fabric
from lightning_fabric.strategies import SingleDeviceStrategy
from torch import nn


def synchronize(network: nn.Module, fabric: Fabric) -> None:
    """Give every process rank 0's weights and buffers: BatchNorm's statistics differ between processes."""
    if fabric.world_size > 1:
        for tensor in network.state_dict().values():
            tensor.copy_(fabric.broadcast(tensor))


def alone(fabric: Fabric) -> Fabric:
    """Return this process by itself, with the same device and precision: it waits for no other."""
    return Fabric(strategy=SingleDeviceStrategy(fabric.device), plugins=[fabric.strategy.precision])


def share(count: int, batch_size: int, fabric: Fabric) -> tuple[list[list[int]], list[list[int]]]:
    """Return all batches of positions 0..count-1, and those of this process.

    Whole batches are dealt out, so that a batch is composed alike however many processes there are and
    the numbers that come out are the same.
    """
    batches = [list(range(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]
    return batches, batches[fabric.global_rank :: fabric.world_size]
