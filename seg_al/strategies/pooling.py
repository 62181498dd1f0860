"""From the uncertainties of an image's pixels to the image's: what every pixel-wise strategy ends with."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from seg_al.config import Component, UserError


class Pooling(Component):
    """Reduces a map of pixel uncertainties to one number an image."""

    def __call__(self, uncertainty: Tensor) -> Tensor:
        """Map (B, h, w) to (B,). The uncertainties of whole images, (B,), are returned as they are."""
        return self.pool(uncertainty) if uncertainty.dim() > 1 else uncertainty

    def pool(self, uncertainty: Tensor) -> Tensor:
        """Map (B, h, w) to (B,)."""
        raise NotImplementedError


class MeanPixels(Pooling):
    """The mean over all pixels. Labels are unknown when a query is made, so no pixel is left out."""

    def pool(self, uncertainty: Tensor) -> Tensor:
        """Map (B, h, w) to (B,)."""
        return uncertainty.flatten(1).mean(1)


class TopPixels(Pooling):
    """The mean over the most uncertain share of the pixels, so that large certain areas do not drown them."""

    share: float = 0.1
    """Share of the pixels that counts, in (0, 1]; at least one pixel does."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UserError(f"TopPixels.share must be above 0 and at most 1, not {self.share}")

    def pool(self, uncertainty: Tensor) -> Tensor:
        """Map (B, h, w) to (B,)."""
        pixels = uncertainty.flatten(1)
        return pixels.topk(max(1, math.floor(self.share * pixels.shape[1])), dim=1).values.mean(1)


class TopPatches(Pooling):
    """The sum of the means of the `count` most uncertain patches of a grid (Kuo et al. 2018, Sec. 2.2).

    The image is parted into a regular grid, so that one uncertain spot is counted once; where a side is no multiple
    of the grid, neighbours share a pixel's width.
    """

    count: int = 10
    """K, patches that count; all of them where the grid has fewer."""

    grid: int = 8
    """Patches along each side of the image; as many as it has pixels where it has fewer."""

    def __post_init__(self) -> None:
        for name in ("count", "grid"):
            if getattr(self, name) < 1:
                raise UserError(f"TopPatches.{name} must be at least 1, not {getattr(self, name)}")

    def pool(self, uncertainty: Tensor) -> Tensor:
        """Map (B, h, w) to (B,)."""
        size = (min(self.grid, uncertainty.shape[1]), min(self.grid, uncertainty.shape[2]))
        patches = F.adaptive_avg_pool2d(uncertainty[:, None], size).flatten(1)
        return patches.topk(min(self.count, patches.shape[1]), dim=1).values.sum(1)


class MaxPatch(Pooling):
    """The mean over the one most uncertain patch, wherever it lies: a sliding window of a share of each side."""

    side: float = 0.125
    """Side of the patch as a share of the image's, in (0, 1]; at least one pixel."""

    def __post_init__(self) -> None:
        if not 0 < self.side <= 1:
            raise UserError(f"MaxPatch.side must be above 0 and at most 1, not {self.side}")

    def pool(self, uncertainty: Tensor) -> Tensor:
        """Map (B, h, w) to (B,)."""
        window = [max(1, round(self.side * side)) for side in uncertainty.shape[1:]]
        return F.avg_pool2d(uncertainty[:, None], window, stride=1).flatten(1).amax(1)
