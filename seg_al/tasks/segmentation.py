"""Semantic segmentation: pixel-wise cross-entropy, mIoU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from seg_al.data.base import IGNORE
from seg_al.metrics import ConfusionMatrix
from seg_al.reporting.gallery import overlay, side_by_side
from seg_al.tasks.base import Task


class Segmentation(Task):
    """Semantic segmentation with unweighted cross-entropy; pixels of value 255 are left out."""

    label_dims = 2

    @property
    def metric_name(self) -> str:
        """mIoU, as a fraction."""
        return "mIoU"

    def loss(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Return cross-entropy averaged over the labeled pixels of a batch; 0 where it has none.

        Args:
            images: (B, 3, H, W) in [0, 1].
            targets: (B, H, W) int64 train ids, 255 = ignore.
        """
        total = F.cross_entropy(network(images).float(), targets, ignore_index=IGNORE, reduction="sum")
        # A batch without one labeled pixel (a crop of void) must not turn the weights into NaN by 0 / 0.
        return total / (targets != IGNORE).sum().clamp(min=1)

    def head(self, network: nn.Module, features: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Return softmax probabilities (B, C, h, w) at the logits' own resolution, or at `size`."""
        return self._logits(network, features, size).softmax(1)

    def predict(self, network: nn.Module, images: Tensor, size: Sequence[int]) -> Tensor:
        """Return the class of each pixel at (height, width), (B, height, width) int64.

        Logits are upsampled, so that labels never need resizing.
        """
        return self._logits(network, network.forward_features(images), size).argmax(1)  # type: ignore[operator]

    def _logits(self, network: nn.Module, features: Tensor, size: Sequence[int] | None) -> Tensor:
        logits = network.forward_head(features).float()  # type: ignore[operator]
        if size is None:
            return logits
        return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)

    @property
    def caption(self) -> str:
        """What `picture` shows."""
        return "image, ground truth, prediction"

    def picture(self, image: np.ndarray, target: np.ndarray, predicted: np.ndarray, palette: np.ndarray) -> np.ndarray:
        """Return image, ground truth and prediction in palette colours, side by side."""
        return side_by_side(image, target, predicted, palette)

    def with_label(self, image: np.ndarray, target: np.ndarray, palette: np.ndarray) -> np.ndarray:
        """Return the image with its mask laid over it."""
        return overlay(image, target, palette)

    def metric(self, num_classes: int) -> ConfusionMatrix:
        """Return an empty confusion matrix."""
        return ConfusionMatrix(num_classes, ignore_index=IGNORE)
