"""Variational autoencoders that give VAAL its latent space: one for any resolution, and the release's at 32 px.

Sinha, Ebrahimi, Darrell, *Variational Adversarial Active Learning*, ICCV 2019. Both take RGB images in [0, 1]
and scale them to [-1, 1] themselves; the losses are the strategy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_al.config import UserError

POOLED = 4  # side of the encoder's pooled map, and of the decoder's first
GROUPS = 8  # of every GroupNorm: batches of 8 labeled and unlabeled images have no use for batch statistics
# One bad step can make log σ² so large that exp overflows and the run ends in NaN. A standard deviation of
# e^5 is far beyond any posterior's (the prior's is 1), so the bound never acts otherwise. A small σ is harmless.
LOGVAR_MAX = 10.0


def kl_per_dim(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(μ, σ²) || N(0, 1)) of each latent dimension in nats, ½(μ² + σ² − 1 − log σ²).

    Args:
        mu: (B, d), and
        logvar: (B, d), log σ².

    Returns:
        (B, d), at least 0. Kingma and Welling, 2014, appendix B.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar)


def reparameterize(mu: Tensor, logvar: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return μ + σ·ε, (B, d), with ε given as `noise` or drawn from torch's global random state."""
    if noise is None:
        noise = torch.randn_like(mu)
    return mu + noise * (0.5 * logvar).exp()


def number_of_stages(size: tuple[int, int]) -> int:
    """Return how often the encoder halves images of `size`: until their larger side is at most 13 pixels.

    The larger side of the last map is then 7 to 13: 2 stages at 32 px (8), 4 at 96x128 (8), 6 at 688 (10),
    7 at 1024 (8).
    """
    side, stages = max(size), 0
    while side > 13:
        side, stages = side // 2, stages + 1
    return stages


class VAE(nn.Module):
    """A convolutional VAE for images of any size from 32 to 1024 pixels a side.

    Encoder: stages of [convolution 4x4 of stride 2, GroupNorm, SiLU], as many as `number_of_stages` says;
    adaptive average pooling to 4x4; one Linear layer each for μ and log σ². Where images are long and narrow,
    a side that another halving would bring below 4 pixels is kept instead, by a 3-wide kernel of stride 1.

    Decoder: Linear to 4x4, then per encoder map, last to first, [nearest resize to that map's size,
    convolution 3x3, GroupNorm, SiLU], up to the size of the target; a convolution to RGB and tanh.

    Target: the image, area-averaged to a quarter of its side. Details finer than that cost most of the
    computation and say little about which images look alike. Small images are halved less often, so that the
    target's larger side keeps at least 32 pixels: 96x128 gives 24x32, 64x64 gives 32x32, 32x32 stays.

    The size given here fixes the architecture. Images of other sizes can be encoded and reconstructed too, as
    long as they are not so small that a map would vanish.

    Args:
        latent: d, number of latent dimensions.
        size: (H, W) of the images.
        channels: of the encoder's stages; the last one goes on where there are more stages. Multiples of 8.
        full_resolution_target: reconstruct the image itself instead of its downsampled version.

    Raises:
        UserError: a side below 32 pixels.
    """

    def __init__(
        self,
        latent: int,
        size: tuple[int, int],
        channels: Sequence[int] = (32, 64, 128, 256, 512, 512),
        full_resolution_target: bool = False,
    ) -> None:
        super().__init__()
        if min(size) < 32:
            raise UserError(f"the VAE needs images of at least 32x32 pixels, not {size[0]}x{size[1]}")
        self.size = (int(size[0]), int(size[1]))
        stages = number_of_stages(self.size)
        widths = [3] + [channels[min(stage, len(channels) - 1)] for stage in range(stages)]

        self.strides: list[tuple[int, int]] = []
        height, width = self.size
        for _ in range(stages):
            stride = (2 if height // 2 >= POOLED else 1, 2 if width // 2 >= POOLED else 1)
            height, width = height // stride[0], width // stride[1]
            self.strides.append(stride)

        # How many halvings separate the image from the target.
        self.reduction = 0
        if not full_resolution_target:
            self.reduction = sum(max(self.size) // factor >= 32 for factor in (2, 4))

        self.encoder = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(widths[i], widths[i + 1], (2 + stride[0], 2 + stride[1]), stride, padding=1, bias=False),
                    nn.GroupNorm(GROUPS, widths[i + 1]),
                    nn.SiLU(inplace=True),
                )
                for i, stride in enumerate(self.strides)
            )
        )
        self.mu = nn.Linear(widths[-1] * POOLED**2, latent)
        self.logvar = nn.Linear(widths[-1] * POOLED**2, latent)

        self.expand = nn.Linear(latent, widths[-1] * POOLED**2)
        # One stage for each map from the last one up to the target's size; the image's own size, which only a
        # full-resolution target reaches, has the first stage's width.
        widths[0] = widths[1]
        outputs = [widths[level] for level in range(stages, self.reduction - 1, -1)]
        self.decoder = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.GroupNorm(GROUPS, after),
                nn.SiLU(inplace=True),
            )
            for before, after in pairwise([widths[-1], *outputs])
        )
        self.to_rgb = nn.Conv2d(outputs[-1], 3, 3, padding=1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        for layer in (self.mu, self.expand):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.xavier_normal_(self.to_rgb.weight)
        nn.init.zeros_(self.to_rgb.bias)  # type: ignore[arg-type]
        # Every posterior starts with unit variance, whatever the image: the KL starts small and finite.
        nn.init.zeros_(self.logvar.weight)
        nn.init.zeros_(self.logvar.bias)

    def map_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the sizes of an image of `size` and of the encoder's maps, first to last.

        Raises:
            UserError: the image is so small that a map would vanish.
        """
        sizes = [size]
        for vertical, horizontal in self.strides:
            sizes.append((sizes[-1][0] // vertical, sizes[-1][1] // horizontal))
        if min(sizes[-1]) < 1:
            raise UserError(
                f"images of {size[0]}x{size[1]} pixels are too small for a VAE built for {self.size[0]}x{self.size[1]}"
            )
        return sizes

    def trunk(self) -> nn.Sequential:
        """Return the encoder up to its two heads: images (B, 3, H, W) in [-1, 1] to (B, F)."""
        return nn.Sequential(self.encoder, nn.AdaptiveAvgPool2d(POOLED), nn.Flatten())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W) in [0, 1] to μ and log σ² of their posteriors, (B, d) each."""
        self.map_sizes(_size(x))
        pooled = self.trunk()(2.0 * x - 1.0)
        return self.mu(pooled), self.logvar(pooled).clamp(max=LOGVAR_MAX)

    def decode(self, z: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Map latents (B, d) to reconstructions (B, 3, th, tw) in [-1, 1].

        Args:
            z: latents.
            size: (H, W) of the images; those the VAE was built for where not given.
        """
        x = self.expand(z).view(len(z), -1, POOLED, POOLED)
        map_sizes = self.map_sizes(size or self.size)[self.reduction :]
        for stage, map_size in zip(self.decoder, reversed(map_sizes), strict=True):
            x = stage(F.interpolate(x, size=map_size, mode="nearest"))
        return self.to_rgb(x).tanh()

    def target(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to what is reconstructed: (B, 3, th, tw) in [-1, 1], area-averaged."""
        size = self.map_sizes(_size(x))[self.reduction]
        return F.interpolate(2.0 * x - 1.0, size=size, mode="area")

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode, sample, decode.

        Args:
            x: (B, 3, H, W) in [0, 1].
            noise: (B, d), the standard normal draw of the reparameterisation; torch's global random state
                gives it where not given.

        Returns:
            reconstruction and target, both (B, 3, th, tw) in [-1, 1]; μ and log σ², both (B, d).
        """
        mu, logvar = self.encode(x)
        return self.decode(reparameterize(mu, logvar, noise), _size(x)), self.target(x), mu, logvar


class ReleaseVAE(nn.Module):
    """The VAE of VAAL's public code, for 32x32 images only; the interface is `VAE`'s.

    Encoder: 4x4 convolutions of stride 2 with 128-256-512-1024 channels, BatchNorm, ReLU; decoder: Linear to
    1024x4x4 and the transposed convolutions back. The target is the whole image, (x − 0.5)/0.5, and the
    reconstruction is not squashed to its range.

    Args:
        latent: d, number of latent dimensions.

    Raises:
        UserError: (on use) images that are not 32x32.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.size = (32, 32)
        widths = (3, 128, 256, 512, 1024)
        encoder: list[nn.Module] = []
        for before, after in pairwise(widths):
            encoder += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.encoder = nn.Sequential(*encoder, nn.Flatten())
        self.mu = nn.Linear(1024 * 2 * 2, latent)
        self.logvar = nn.Linear(1024 * 2 * 2, latent)
        decoder: list[nn.Module] = [nn.Linear(latent, 1024 * 4 * 4), nn.Unflatten(1, (1024, 4, 4))]
        for before, after in pairwise(widths[:0:-1]):
            decoder += [
                nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.decoder = nn.Sequential(*decoder, nn.ConvTranspose2d(128, 3, 1))
        # As the release: its initialisation does not reach the two heads nor the transposed convolutions.
        for module in (*self.encoder, *self.decoder):
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def trunk(self) -> nn.Sequential:
        """Return the encoder up to its two heads: images (B, 3, 32, 32) in [-1, 1] to (B, F)."""
        return self.encoder

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, 32, 32) in [0, 1] to μ and log σ², (B, d) each."""
        features = self.trunk()(self.target(x))
        return self.mu(features), self.logvar(features)

    def decode(self, z: Tensor) -> Tensor:
        """Map latents (B, d) to reconstructions (B, 3, 32, 32), unbounded."""
        return self.decoder(z)

    def target(self, x: Tensor) -> Tensor:
        """Map images (B, 3, 32, 32) in [0, 1] to [-1, 1]."""
        if _size(x) != self.size:
            raise UserError(
                f"the release's VAE takes 32x32 images only, not {x.shape[-2]}x{x.shape[-1]}; use VAE for others"
            )
        return (x - 0.5) / 0.5

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode, sample, decode; as `VAE.forward`."""
        mu, logvar = self.encode(x)
        return self.decode(reparameterize(mu, logvar, noise)), self.target(x), mu, logvar


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]
