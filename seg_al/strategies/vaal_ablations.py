"""VAAL with a part taken away (Sinha, Ebrahimi, Darrell, ICCV 2019, Fig. 4): what does each contribute?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.models.discriminator import PixelDiscriminator
from seg_al.models.vae import kl_per_dim
from seg_al.strategies.adversarial import LatentDiscriminator, LatentSpace, Learner, TwoPools
from seg_al.strategies.vaal import discriminator_loss, transductive_loss
from seg_al.strategies.vaal_diagnostics import latent_space, separation, spread

if TYPE_CHECKING:
    from seg_al.phase import Phase
    from seg_al.round import ImageView, Round


class DiscriminatorOnly(TwoPools):
    """VAAL without a VAE: a convolutional discriminator on pixels, the score ``1 − D(x)``.

    D is the trunk of the VAE's encoder with one logit, trained by Eq. 3 alone,
    ``L_D = BCE(D(x_L), 1) + BCE(D(x_U), 0)``. Nothing keeps it from learning the images by heart: compare the
    logged ``auc`` and ``auc_memorised``. Cost: training D each round, one pass of it over the pool.
    """

    lr_discriminator: float = 5e-4
    """Adam's learning rate for the discriminator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._above_zero("lr_discriminator")

    def score(self, round: Round) -> Tensor:
        """Train a discriminator on this round's pools; return ``1 − D(x)``, (N,) in [0, 1].

        Raises:
            UserError: images of differing sizes and no `size` given, or a loss that is not finite.
        """
        size = self.input_size(round)
        discriminator = self.train(round, size)
        logits = round.map(discriminator, round.unlabeled.at(size)).double()
        labeled_logits = round.map(discriminator, round.labeled.at(size), timed_as="diagnose")
        scores = 1 - logits.sigmoid()
        self.log(round, {**separation(logits, labeled_logits, self.seen(round)), **spread(scores)})
        return scores

    def train(self, round: Round, size: tuple[int, int]) -> nn.Module:
        """Train the discriminator; return it in eval mode."""
        phase = self.seeded_phase(round)
        discriminator = PixelDiscriminator(self.new_vae(1, size))
        learner = Learner(round.fabric, discriminator, self.lr_discriminator)
        fit_discriminator(self, round, phase, size, learner, lambda images: images)
        return discriminator


class FrozenVAE(LatentDiscriminator):
    """VAAL with a VAE that does not learn: a discriminator on its μ, the score ``1 − D(μ)``.

    The VAE stays as initialised, or as pre-trained on both pools by Eq. 1 alone (λ2 = 0); then D is trained
    by Eq. 3, ``L_D = BCE(D(μ_L), 1) + BCE(D(μ_U), 0)``. The VAE's settings matter to pre-training only, apart
    from `latent`. Cost: training D each round, whose images pass the encoder, and the VAE before if at all;
    one encoder pass over the pool.
    """

    pretrain_epochs: int = 0
    """Epochs of the VAE before it is frozen; 0 leaves it as initialised, as in the paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrain_epochs < 0:
            raise UserError(f"FrozenVAE.pretrain_epochs must be 0 or more, not {self.pretrain_epochs}")

    def train(self, round: Round, size: tuple[int, int]) -> tuple[nn.Module, nn.Module, Tensor]:
        """Train the discriminator; return both networks in eval mode, and which unlabeled images it saw, (N,) bool."""
        phase, fabric = self.seeded_phase(round), round.fabric
        vae, discriminator = self.build(size)
        if self.pretrain_epochs:
            fit_vae(self, round, round.phase("vaal_pretrain"), size, vae, self.pretrain_epochs)
        vae = fabric.to_device(vae).eval().requires_grad_(False)  # D meets in training what it meets in scoring
        learner = Learner(fabric, discriminator, self.lr_discriminator)
        fit_discriminator(self, round, phase, size, learner, lambda images: self.means(vae, images))
        return vae, discriminator, self.seen(round)

    def reconstruction(self, round: Round, vae: nn.Module, images: ImageView) -> dict[str, float]:
        """As `LatentSpace.reconstruction`; nothing where the decoder was never trained."""
        return super().reconstruction(round, vae, images) if self.pretrain_epochs else {}


class WassersteinVAE(LatentSpace):
    """VAAL without a discriminator: ask for the images that lie farthest from the labeled ones in the VAE's space.

    A VAE is trained on both pools by Eq. 1 alone (λ2 = 0). The score is the 2-Wasserstein distance of an
    image's posterior N(μ, σ²) from the labeled set's Gaussian N(m, s²), all with diagonal covariance::

        W = sqrt(‖μ − m‖² + ‖σ − s‖²)
        m = mean_L μ,  s² = mean_L σ² + var_L μ

    Cost: training a VAE each round, one encoder pass over both pools.
    """

    def score(self, round: Round) -> Tensor:
        """Train a VAE on this round's pools; return each posterior's distance from the labeled set, (N,) ≥ 0.

        Raises:
            UserError: images of differing sizes and no `size` given, or a loss that is not finite.
        """
        size = self.input_size(round)
        vae = self.train(round, size)
        unlabeled = round.unlabeled.at(size)
        mu, logvar = self.posteriors(round, vae, unlabeled).chunk(2, dim=1)
        labeled_mu, labeled_logvar = self.posteriors(round, vae, round.labeled.at(size)).chunk(2, dim=1)
        sigma, labeled_sigma = (0.5 * logvar).exp(), (0.5 * labeled_logvar).exp()
        gaussian = moments(labeled_mu, labeled_sigma)
        distances = wasserstein(mu, sigma, *gaussian)
        labeled_distances = wasserstein(labeled_mu, labeled_sigma, *gaussian)
        self.log(
            round,
            {
                **latent_space(mu, kl_per_dim(mu, logvar)),
                **separation(-distances, -labeled_distances, self.seen(round)),
                **spread(distances),
                **self.reconstruction(round, vae, unlabeled),
            },
        )
        return distances

    def train(self, round: Round, size: tuple[int, int]) -> nn.Module:
        """Train the VAE; return it in eval mode."""
        phase = self.seeded_phase(round)
        vae = self.new_vae(self.latent, size)
        fit_vae(self, round, phase, size, vae, self.epochs)
        return vae

    def posteriors(self, round: Round, vae: nn.Module, images: ImageView) -> Tensor:
        """Return rows of μ and log σ² for a view of images, (N, 2d) float64: one encoder pass."""
        return round.map(lambda batch: torch.cat(vae.encode(batch), dim=1), images).double()  # type: ignore[operator]


def fit_vae(
    strategy: LatentSpace, round: Round, phase: Phase, size: tuple[int, int], vae: nn.Module, epochs: int
) -> None:
    """Train a VAE on both pools by Eq. 1 alone (λ2 = 0); leave it in eval mode."""
    learner = Learner(round.fabric, vae, strategy.lr_vae)
    for batches in strategy.steps(round, phase, size, epochs, vae=learner):
        for images in batches:
            reconstruction, target, mu, logvar = (part.float() for part in learner.wrapped(images))
            half = len(images) // 2
            loss = transductive_loss(strategy.objective, strategy.beta, reconstruction, target, mu, logvar, half)
            learner.descend(loss)
            phase.step(vae=loss.detach())


def fit_discriminator(
    strategy: TwoPools,
    round: Round,
    phase: Phase,
    size: tuple[int, int],
    learner: Learner,
    code: Callable[[Tensor], Tensor],
) -> None:
    """Train D on `code` of both pools' images by Eq. 3 alone; leave it in eval mode and log its loss."""
    for batches in strategy.steps(round, phase, size, strategy.epochs, discriminator=learner):
        for images in batches:
            with round.fabric.autocast():
                loss = discriminator_loss(learner.wrapped(code(images)).float())
            learner.descend(loss)
            phase.step(discriminator=loss.detach())
    strategy.log_discriminator(round, phase)


def moments(mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean m and standard deviation s, (d,) each, of the mixture of posteriors N(μ, σ²), (N, d) each.

    ``m = mean μ`` and ``s² = mean σ² + var μ``: the Gaussian of the same first two moments in each dimension.
    """
    return mu.mean(0), (sigma.square().mean(0) + mu.var(0, unbiased=False)).sqrt()


def wasserstein(mu: Tensor, sigma: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Return the 2-Wasserstein distances of N(μ, σ²), (N, d) each, from N(m, s²), (d,) each: (N,) ≥ 0.

    ``sqrt(‖μ − m‖² + ‖σ − s‖²)``, the closed form for diagonal covariances (Olkin & Pukelsheim 1982).
    """
    return ((mu - m).square().sum(1) + (sigma - s).square().sum(1)).sqrt()
