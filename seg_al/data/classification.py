"""Classification data sets: one class an image."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.colors import hsv_to_rgb

from seg_al.config import UserError
from seg_al.data.base import ImageDataset, Samples, Split
from seg_al.data.class_files import ClassSamples
from seg_al.data.files import hold_out, hold_out_val


class ClassificationDataset(ImageDataset):
    """Base of the classification data sets: a target is the index of the image's class."""

    fit: Literal["resize", "crop"] = "resize"
    """How an image gets to `size`: resized as a whole, its shape not kept; or, its shape kept, resized until
    8/7 of `size` (256 for 224) fit into it, and cut to `size`: at random in training, around the centre in
    evaluation and scoring."""

    @property
    def input_size(self) -> tuple[int, int] | None:
        """`size`."""
        return self.size

    @property
    def center_crop(self) -> bool:
        """True where `fit` is "crop"."""
        return self.fit == "crop"

    @property
    def palette(self) -> np.ndarray:
        """As many distinct colours as there are classes, (C, 3) uint8 RGB."""
        return distinct_colors(len(self.class_names))

    @property
    def super_classes(self) -> tuple[int, ...]:
        """Group of each class: classes of one group are alike, and mistaken for each other. Here one for all."""
        return (0,) * len(self.class_names)


class ClassificationBenchmark(ClassificationDataset):
    """Base of the published data sets: val held out of the official train images, and smaller versions."""

    val_images: int
    """How many official train images are held out for val: always the same ones, whatever their classes."""

    pool_images: int | None = None
    """Size of the pool; None takes all that val leaves. Fewer are drawn from them, always the same ones,
    whatever their classes; a smaller pool is part of a larger one."""

    test_images: int | None = None
    """Size of the test split; None takes all. Fewer are drawn as for `pool_images`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("val_images", 0), ("pool_images", 1), ("test_images", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{type(self).__name__}.{name} must be {least} or more, not {value}")

    def samples(self, split: Split) -> Samples:
        """List one split; see `official` for the ids."""
        owner = type(self).__name__
        if split == "test":
            return _drawn(self.official("test"), self.test_images, f"{owner}.test_images")
        parts = hold_out_val(self.official("train"), self.val_images, owner)
        return parts["val"] if split == "val" else _drawn(parts["train"], self.pool_images, f"{owner}.pool_images")

    def official(self, split: Literal["train", "test"]) -> ClassSamples:
        """List all images of the official train or test split."""
        raise NotImplementedError


def _drawn(samples: ClassSamples, count: int | None, setting: str) -> ClassSamples:
    if count is None:
        return samples
    if count > len(samples):
        raise UserError(f"{setting} is {count}, but there are {len(samples)} images; lower it, or None for all")
    return hold_out(samples, count, seed=1)[1]  # not the seed of val: neither draw follows from the other


def distinct_colors(count: int) -> np.ndarray:
    """Return `count` colours, all different and the first ones far apart, (count, 3) uint8 RGB; always the same.

    Hues advance by the golden angle, saturation and brightness by other irrational steps: none comes back.
    """
    turns = np.arange(count)[:, None] * (0.6180339887, 0.8191725134, 0.6710436067) + (0, 0.5, 0.5)
    hue, saturation, value = np.modf(turns)[0].T
    hsv = np.stack([hue, 0.5 + saturation / 2, 0.5 + value / 2], axis=1)
    return (255 * hsv_to_rgb(hsv)).round().astype(np.uint8)
