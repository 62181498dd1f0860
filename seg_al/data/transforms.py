"""How an image and its target reach the network: albumentations, drawn from a seed a sample."""

from __future__ import annotations

from typing import Any

import albumentations as A
import cv2
import numpy as np

from seg_al.data.base import IGNORE, ImageDataset


class Transform:
    """A pipeline over an image and, where given, its target."""

    def __init__(self, steps: list[Any]) -> None:
        self.pipeline = A.Compose(steps) if steps else None

    def __call__(self, image: np.ndarray, target: np.ndarray | None = None, seed: int = 0) -> dict[str, np.ndarray]:
        """Return ``image`` (H, W, 3) transformed and, where given, ``target``.

        A mask (H, W) goes where its image goes; a class, shape (), stays. Random choices depend on `seed` alone.
        """
        pair = {"image": image} if target is None else {"image": image, "target": target}
        if self.pipeline is None:
            return pair
        self.pipeline.set_random_seed(seed)
        if target is None or target.ndim == 0:
            return pair | self.pipeline(image=image)
        moved = self.pipeline(image=image, mask=target)
        return {"image": moved["image"], "target": moved["mask"]}


def training_transform(dataset: ImageDataset) -> Transform:
    """Return the transform of labeled images in training, after the data set's `size`, `fit` and `flip`."""
    steps: list[Any] = []
    if dataset.size is not None and dataset.fit == "resize":
        steps.append(resize(dataset.size))
    elif dataset.size is not None:
        height, width = dataset.size
        if dataset.center_crop:
            steps.append(cover(dataset.size))
        steps.append(A.PadIfNeeded(height, width, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=IGNORE))
        steps.append(A.RandomCrop(height, width))
    if dataset.flip:
        steps.append(A.HorizontalFlip(p=0.5))
    return Transform(steps + dataset.augmentations())


def evaluation_transform(size: tuple[int, int] | None, flip: bool = False, center_crop: bool = False) -> Transform:
    """Return the transform of images to evaluate or score.

    Args:
        flip: mirror half of the draws, for training on unlabeled images.
        center_crop: cut images to `size` around their centre instead of resizing them as a whole.
    """
    steps: list[Any] = []
    if size is not None:
        steps += [cover(size), A.CenterCrop(*size)] if center_crop else [resize(size)]
    return Transform([*steps, A.HorizontalFlip(p=0.5)] if flip else steps)


def resize(size: tuple[int, int]) -> Any:
    """Resize to (height, width): images by area averaging when they shrink, targets by nearest neighbour.

    A blend of two class ids would be a third class.
    """
    return A.Resize(
        *size,
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST_EXACT,
        area_for_downscale="image",
    )


def cover(size: tuple[int, int]) -> Any:
    """Resize an image, its shape kept, until 8/7 of (height, width) just fit into it: 256 pixels for 224."""
    height, width = (round(side * 8 / 7) for side in size)
    return A.SmallestMaxSize(max_size_hw=(height, width), interpolation=cv2.INTER_LINEAR, area_for_downscale="image")
