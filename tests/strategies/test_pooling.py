"""Poolings against their definitions, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seg_al import MaxPatch, MeanPixels, TopPatches, TopPixels, UserError
from seg_al.strategies.pooling import Pooling

MAPS = torch.tensor(np.random.default_rng(0).random((3, 12, 16)), dtype=torch.float32)


def test_the_mean_counts_every_pixel() -> None:
    assert MeanPixels()(MAPS).numpy() == pytest.approx(MAPS.numpy().mean((1, 2)))


@pytest.mark.parametrize(("share", "pixels"), [(0.1, 19), (1.0, 192), (0.001, 1)])
def test_top_pixels_are_the_highest_share(share: float, pixels: int) -> None:
    wanted = [np.sort(values.ravel())[::-1][:pixels].mean() for values in MAPS.numpy()]
    assert TopPixels(share=share)(MAPS).numpy() == pytest.approx(wanted)


def test_top_patches_are_means_over_a_grid() -> None:
    patches = MAPS.numpy().reshape(3, 4, 3, 4, 4).mean((2, 4)).reshape(3, -1)
    wanted = np.sort(patches, axis=1)[:, ::-1][:, :5].sum(1)
    assert TopPatches(count=5, grid=4)(MAPS).numpy() == pytest.approx(wanted, rel=1e-5)
    pixels = np.sort(MAPS.numpy().reshape(3, -1), axis=1)  # a grid finer than the map: its pixels
    assert TopPatches(count=99, grid=99)(MAPS).numpy() == pytest.approx(pixels[:, -99:].sum(1))
    assert TopPatches(count=999, grid=99)(MAPS).numpy() == pytest.approx(pixels.sum(1))


def test_the_max_patch_slides_over_the_image() -> None:
    maps = MAPS.numpy()
    wanted = [max(m[y : y + 3, x : x + 4].mean() for y in range(10) for x in range(13)) for m in maps]
    assert MaxPatch(side=0.25)(MAPS).numpy() == pytest.approx(wanted, rel=1e-5)
    assert MaxPatch(side=0.001)(MAPS).numpy() == pytest.approx(maps.max((1, 2)))
    assert MaxPatch(side=1.0)(MAPS).numpy() == pytest.approx(maps.mean((1, 2)), rel=1e-5)


@pytest.mark.parametrize("pooling", [MeanPixels(), TopPixels(), TopPatches(), MaxPatch()])
def test_images_without_pixels_keep_their_value(pooling: Pooling) -> None:
    assert pooling(torch.tensor([0.5, 1.5])).tolist() == [0.5, 1.5]


def test_a_small_uncertain_spot_counts_for_more_in_the_top_poolings() -> None:
    spot, haze = torch.zeros(24, 24), torch.full((24, 24), 0.05)
    spot[3:6, 3:6] = 1.0
    both = torch.stack([spot, haze])
    assert MeanPixels()(both).argmax() == 1
    assert [pooling(both).argmax() for pooling in (TopPixels(), MaxPatch(), TopPatches(count=2))] == [0, 0, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: TopPixels(share=0.0),
        lambda: TopPixels(share=1.5),
        lambda: MaxPatch(side=0.0),
        lambda: TopPatches(count=0),
        lambda: TopPatches(grid=0),
    ],
)
def test_a_setting_out_of_range_is_named(wrong: object) -> None:
    with pytest.raises(UserError, match=r"\.(share|side|count|grid) must be"):
        wrong()  # type: ignore[operator]
