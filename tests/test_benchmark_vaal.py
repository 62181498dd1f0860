"""tools/benchmark_vaal.py compares like with like: its two loops have equal losses where they should."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from seg_al import VAAL
from seg_al.strategies.vaal import adversarial_loss


@pytest.fixture(scope="module")
def tool_module() -> Any:
    spec = importlib.util.spec_from_file_location("benchmark_vaal", ROOT / "tools" / "benchmark_vaal.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look their types up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


IMAGES = np.random.default_rng(1).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
SMALL = {"latent": 4, "batch_size": 4}


@pytest.mark.parametrize(
    "strategy",
    [VAAL.default(**SMALL), VAAL.release(**SMALL, architecture="general")],
    ids=["default", "release's objective, two steps of the VAE"],
)
def test_with_groupnorm_the_losses_of_both_loops_are_equal(tool_module: ModuleType, strategy: VAAL) -> None:
    batches = tool_module.draw(IMAGES, strategy, 3)
    ours = tool_module.ours(strategy, batches)
    assert len(ours.losses) == len(ours.ends) == 3 and len(batches.labeled) == 3 * strategy.vae_steps
    assert len({loss for losses in ours.losses for loss in losses}) == 9  # it trains: no loss stays
    assert tool_module.difference(strategy, batches) < 1e-5


def test_a_wrong_loss_of_the_package_is_found(tool_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    # D learns that all images are labeled: first seen in its own loss
    monkeypatch.setattr("seg_al.strategies.vaal.discriminator_loss", adversarial_loss)
    strategy = VAAL.default(**SMALL)
    assert tool_module.difference(strategy, tool_module.draw(IMAGES, strategy, 1)) > 100 * tool_module.SAME


def test_batchnorm_tells_the_loops_apart(tool_module: ModuleType) -> None:
    strategy = VAAL.default(**SMALL, architecture="auto")
    assert tool_module.difference(strategy, tool_module.draw(IMAGES, strategy, 1)) > tool_module.SAME
