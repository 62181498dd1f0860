"""What a data set gives the loop: splits of samples with stable ids, class names and a palette."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

from seg_al.config import Component, UserError

IGNORE = 255
"""Value of a target pixel that counts neither in training nor in evaluation."""

Split = Literal["train", "val", "test"]


class Samples(Protocol):
    """One split of a data set: ids, and images and targets that are read when asked for.

    Reading the same sample twice gives equal arrays. Image and target are apart so that scoring a
    pool neither pays for labels nor can see them.
    """

    ids: Sequence[str]
    """Stable, readable, unique names: the relative path without suffix. Their order is the split's order."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> np.ndarray:
        """Return the image at its own resolution, (H, W, 3) uint8 RGB.

        Raises:
            UserError: the file cannot be read; names the file.
        """
        ...

    def target(self, index: int) -> np.ndarray | None:
        """Return the label: of each pixel, or of the image as a whole; None where the sample has none.

        Returns:
            Segmentation: train ids (H, W) uint8 with 255 = ignore. Classification: the index of the
            image's class, an int64 array of shape ().

        Raises:
            UserError: a mask cannot be read, differs from its image in size, or holds an unknown
                label; names the file (and the value and its pixel count).
        """
        ...


class Dataset(Component):
    """Images with labels in the splits train (the pool), val and test.

    Constructing one reads nothing; files are listed when a split is asked for.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the train ids or class indices."""
        raise NotImplementedError

    @property
    def palette(self) -> np.ndarray:
        """Colours of the classes, (C, 3) uint8 RGB, for figures."""
        raise NotImplementedError

    def samples(self, split: Split) -> Samples:
        """List one split; may be empty for val and test.

        Raises:
            UserError: missing root, wrong layout, unmatched files, duplicate ids; all of a split's
                problems in one message.
        """
        raise NotImplementedError

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width at which the network sees images to evaluate or score; None: each its own."""
        return None

    @property
    def center_crop(self) -> bool:
        """Whether those images are cut to `input_size` around their centre, rather than resized as a whole."""
        return False


class ImageDataset(Dataset):
    """Base of the data sets of this package: how images reach the network."""

    size: tuple[int, int] | None = None
    """Height and width of the network's input; None keeps each image's own size."""

    fit: Literal["resize", "crop"] = "resize"
    """How an image gets to `size`: resized as a whole, or (in training) a random crop of it. With
    "crop", evaluation and scoring see the whole image at its own resolution."""

    flip: bool = True
    """Mirror training images left to right with probability one half."""

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise UserError(f"{type(self).__name__}.size must be two positive numbers, not {self.size}")
        if self.fit == "crop" and self.size is None:
            raise UserError(f"{type(self).__name__}.fit is 'crop', which needs a size=(height, width)")

    def augmentations(self) -> list[Any]:
        """Return further albumentations transforms for training images; a subclass may add its own."""
        return []

    @property
    def input_size(self) -> tuple[int, int] | None:
        """`size`; None where training sees crops of it."""
        return self.size if self.fit == "resize" else None


class SegmentationDataset(ImageDataset):
    """Base of the segmentation data sets: a target is a mask of train ids."""
