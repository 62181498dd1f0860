"""The discriminators of VAAL and of its ablation without a VAE: which pool does a latent, or an image, come from?"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from seg_al.models.vae import VAE, ReleaseVAE


class Discriminator(nn.Module):
    """An MLP from latents to one logit, high for labeled: D of VAAL (Sinha et al., ICCV 2019, Eq. 2 and 3).

    It returns raw logits, for ``BCEWithLogits``; their sigmoid is the paper's D(μ), the probability that an
    image is labeled.

    Args:
        latent: d, number of latent dimensions.
        layers: number of Linear layers, the last included: 5 in the paper, 3 in its public code.
        hidden: width of the layers between.

    Raises:
        ValueError: fewer than one layer.
    """

    def __init__(self, latent: int, layers: int = 5, hidden: int = 512) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"a discriminator has at least one layer, not {layers}")
        widths = [latent] + [hidden] * (layers - 1)
        network: list[nn.Module] = []
        for before, after in pairwise(widths):
            linear = nn.Linear(before, after)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            network += [linear, nn.ReLU(inplace=True)]
        self.network = nn.Sequential(*network, undecided(widths[-1]))

    def forward(self, mu: Tensor) -> Tensor:
        """Map latent means (B, d) to logits (B,)."""
        return self.network(mu).squeeze(1)


class PixelDiscriminator(nn.Module):
    """A convolutional network from images to one logit, high for labeled: D on pixels, VAAL without its VAE.

    The trunk of a VAE's encoder, with the logit in place of its heads (Sinha et al., ICCV 2019, Fig. 4).

    Args:
        vae: gives its trunk away: the two share it.
    """

    def __init__(self, vae: VAE | ReleaseVAE) -> None:
        super().__init__()
        self.trunk = vae.trunk()
        self.logit = undecided(vae.mu.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to logits (B,)."""
        return self.logit(self.trunk(2.0 * x - 1.0)).squeeze(1)


def undecided(width: int) -> nn.Linear:
    """Return a layer to one logit that starts near 0, D near 0.5, for all."""
    logit = nn.Linear(width, 1)
    nn.init.xavier_normal_(logit.weight)  # no ReLU follows
    nn.init.zeros_(logit.bias)
    return logit
