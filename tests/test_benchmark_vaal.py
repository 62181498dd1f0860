"""tools/benchmark_vaal.py compares like with like: its two loops have equal losses where they should."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from conftest import imported

from seg_al import VAAL
from seg_al.strategies.vaal import adversarial_loss


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with imported("tools/benchmark_vaal.py") as module:
        yield module


IMAGES = np.random.default_rng(1).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
SMALL = {"latent": 4, "batch_size": 4}


@pytest.mark.parametrize(
    "strategy",
    [VAAL.default(**SMALL), VAAL.release(**SMALL, architecture="general")],
    ids=["default", "release's objective, two steps of the VAE"],
)
def test_with_groupnorm_the_losses_of_both_loops_are_equal(bench: ModuleType, strategy: VAAL) -> None:
    batches = bench.draw(IMAGES, strategy, 3)
    ours = bench.ours(strategy, batches)
    assert len(ours.losses) == len(ours.ends) == 3 and len(batches.labeled) == 3 * strategy.vae_steps
    assert len({loss for losses in ours.losses for loss in losses}) == 9  # it trains: no loss stays
    assert bench.difference(strategy, batches) < 1e-5


def test_a_wrong_loss_of_the_package_is_found(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    # D learns that all images are labeled: first seen in its own loss
    monkeypatch.setattr("seg_al.strategies.vaal.discriminator_loss", adversarial_loss)
    strategy = VAAL.default(**SMALL)
    assert bench.difference(strategy, bench.draw(IMAGES, strategy, 1)) > 100 * bench.SAME


def test_batchnorm_tells_the_loops_apart(bench: ModuleType) -> None:
    strategy = VAAL.default(**SMALL, architecture="auto")
    assert bench.difference(strategy, bench.draw(IMAGES, strategy, 1)) > bench.SAME
