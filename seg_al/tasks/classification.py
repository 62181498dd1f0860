"""Classification of whole images: cross-entropy, top-1 and top-5 accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from seg_al.metrics import Accuracy
from seg_al.reporting.gallery import framed
from seg_al.tasks.base import Task


class Classification(Task):
    """Classification with unweighted cross-entropy; one class an image."""

    label_dims = 0

    @property
    def metric_name(self) -> str:
        """Top-1 accuracy, as a fraction."""
        return "accuracy"

    def loss(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Return cross-entropy averaged over a batch.

        Args:
            images: (B, 3, H, W) in [0, 1].
            targets: (B,) int64 classes.
        """
        return F.cross_entropy(network(images).float(), targets)

    def head(self, network: nn.Module, features: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Return softmax probabilities (B, C); an image as a whole has no `size`."""
        return network.forward_head(features).float().softmax(1)  # type: ignore[operator]

    def predict(self, network: nn.Module, images: Tensor, size: Sequence[int] = ()) -> Tensor:
        """Return the classes of each image by falling probability, the first five: (B, min(5, C)) int64."""
        probabilities = self.probabilities(network, images)
        return probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices

    @property
    def caption(self) -> str:
        """What `picture` shows."""
        return "frame: prediction inside, truth outside"

    def picture(self, image: np.ndarray, target: np.ndarray, predicted: np.ndarray, palette: np.ndarray) -> np.ndarray:
        """Return the image in a frame of the predicted class's colour, on one of its own class's."""
        return framed(image, palette[int(predicted[0])], palette[int(target)])

    def with_label(self, image: np.ndarray, target: np.ndarray, palette: np.ndarray) -> np.ndarray:
        """Return the image in a frame of its class's colour."""
        return framed(image, palette[int(target)])

    def metric(self, num_classes: int) -> Accuracy:
        """Return an empty accuracy."""
        return Accuracy(num_classes)
