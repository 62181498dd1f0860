"""What differs between segmentation and classification, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

from seg_al.config import Component


class Metric(Protocol):
    """Counts over a whole split, summed over batches and processes."""

    matrix: Tensor

    @property
    def confusion(self) -> Tensor:
        """Counts (C, C) int64, ``[ground truth, prediction]``."""
        ...

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Count a batch."""
        ...

    def summary(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return the metric of the curve first, then its parts by class name."""
        ...


class Task(Component):
    """Loss, probabilities, features and metric of a kind of task."""

    label_dims: ClassVar[int | None] = None
    """Dimensions of a label: 2 of a mask, 0 of a class; None: not checked."""

    @property
    def metric_name(self) -> str:
        """Name of the metric that the curve shows, a key of `Metric.summary`."""
        raise NotImplementedError

    def loss(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Return the training loss of a batch: images (B, 3, H, W) in [0, 1], a scalar."""
        raise NotImplementedError

    def head(self, network: nn.Module, features: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Return class probabilities of `forward_features`' map: (B, C, h, w), or (B, C) for whole images.

        Args:
            size: height and width to resample logits to; None: their own. Whole images have none.
        """
        raise NotImplementedError

    def probabilities(self, network: nn.Module, images: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Return class probabilities of images (B, 3, H, W), as `head`."""
        return self.head(network, network.forward_features(images), size)  # type: ignore[operator]

    def features(self, network: nn.Module, images: Tensor) -> Tensor:
        """Return one feature vector an image, (B, D): the map before the classifier, averaged over space."""
        return spatial_mean(network.forward_features(images))  # type: ignore[operator]

    def predict(self, network: nn.Module, images: Tensor, size: Sequence[int]) -> Tensor:
        """Return predicted classes at a given resolution, (B, *size)."""
        raise NotImplementedError

    @property
    def caption(self) -> str:
        """What `picture` shows, for its caption."""
        raise NotImplementedError

    def picture(self, image: np.ndarray, target: np.ndarray, predicted: np.ndarray, palette: np.ndarray) -> np.ndarray:
        """Return a prediction beside its ground truth, (H, W, 3) uint8, for people to look at."""
        raise NotImplementedError

    def with_label(self, image: np.ndarray, target: np.ndarray, palette: np.ndarray) -> np.ndarray:
        """Return an image (H, W, 3) uint8 with its label drawn into it."""
        raise NotImplementedError

    def metric(self, num_classes: int) -> Metric:
        """Return an empty metric."""
        raise NotImplementedError


def spatial_mean(features: Tensor) -> Tensor:
    """Average a map (B, D, ...) over space, in single precision: (B, D)."""
    return features.float().flatten(2).mean(2) if features.dim() > 2 else features.float()
