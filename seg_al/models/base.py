"""What a task model is: a component that builds a network with features and a head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_al.config import Component


class Normalize(nn.Module):
    """Map RGB in [0, 1] to the input a pretrained network expects: ``(x - mean) / std`` per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Network(nn.Module):
    """A network in two parts, after timm's convention; dropout lives in the head only.

    Because everything before the head is deterministic in eval mode, T stochastic passes reuse one
    feature map. Normalisation of the input is the network's own affair.
    """

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] RGB to the feature map the head reads, (B, D, h, w)."""
        raise NotImplementedError

    def forward_both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the deepest map of the encoder, (B, E, h', w'), and `forward_features`' map, in one pass.

        They are one and the same where a network has no decoder.
        """
        features = self.forward_features(x)
        return features, features

    def forward_head(self, features: Tensor) -> Tensor:
        """Map features (B, D, h, w) to logits."""
        raise NotImplementedError


class SegmentationNetwork(Network):
    """A network whose head gives logits of pixels, (B, C, h', w') at its own resolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to logits (B, C, H, W), upsampled bilinearly."""
        logits = self.forward_head(self.forward_features(x))
        return F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)


class ClassificationNetwork(Network):
    """A network whose head averages the map over space and gives logits of whole images, (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to logits (B, C)."""
        return self.forward_head(self.forward_features(x))


class Model(Component):
    """A task model's settings; `build` makes the network."""

    def build(self, num_classes: int) -> nn.Module:
        """Build a network for `num_classes` classes, initialised from torch's global random state.

        Raises:
            UserError: unknown architecture, or weights that are missing or do not fit; one line.
        """
        raise NotImplementedError
