"""The discriminator of VAAL: which pool does a latent come from?"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


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
        logit = nn.Linear(widths[-1], 1)
        nn.init.xavier_normal_(logit.weight)  # no ReLU follows: D starts near 0.5 for all
        nn.init.zeros_(logit.bias)
        self.network = nn.Sequential(*network, logit)

    def forward(self, mu: Tensor) -> Tensor:
        """Map latent means (B, d) to logits (B,)."""
        return self.network(mu).squeeze(1)
