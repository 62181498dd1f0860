"""Variational Adversarial Active Learning: Sinha, Ebrahimi, Darrell, ICCV 2019. Training; sampling is its base's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_al.models.vae import kl_per_dim
from seg_al.strategies.adversarial import LatentDiscriminator, Learner

if TYPE_CHECKING:
    from seg_al.round import Round


class VAAL(LatentDiscriminator):
    """Ask for the images that a discriminator, in the latent space of a VAE, finds least like the labeled ones.

    A VAE embeds labeled and unlabeled images, trained to reconstruct them and to fool the discriminator D,
    which learns to tell labeled (1) from unlabeled (0) by the encoder's mean μ. The score is ``1 − D(μ)``
    (Alg. 2), of both networks in eval mode and without augmentation. The task model plays no part.

    Losses, with ELBO = reconstruction − β·KL (Eq. 1 to 4)::

        L_trd = −ELBO(L) − ELBO(U)                          (transductive)
        L_adv = BCE(D(μ_L), 1) + BCE(D(μ_U), 1)             (the VAE's, D fixed)
        L_D   = BCE(D(μ_L), 1) + BCE(D(μ_U), 0)             (D's, the VAE fixed)
        L_VAE = λ1·L_trd + λ2·L_adv

    Presets: `default` (a sound VAE, recommended), `paper` (the paper's Table 3) and `release` (the code
    published by the authors, whose VAE collapses). Cost: training a VAE and a discriminator each round,
    one encoder pass over the pool.

    From a random start, labeled and unlabeled images are alike, so that D can but memorise and the first
    query is close to a random one; VAAL's signal is in biased pools and later rounds.
    """

    lambda_transductive: float = 1.0
    """Weight λ1 of the transductive loss."""

    lambda_adversarial: float = 1.0
    """Weight λ2 of the adversarial loss. The adversary's aim is to hide from D what D is to find: on pools of some
    hundred images, 0.01 left the VAE sounder and let D see more (docs/results/studies.md), for queries no better."""

    vae_steps: int = 1
    """Steps of the VAE, each on fresh batches, for one step of the discriminator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("vae_steps")

    @classmethod
    def default(cls, **changes: Any) -> VAAL:
        """Return a VAAL whose VAE does not collapse: the σ-VAE objective with λ2 = 1; the class's defaults."""
        return cls(**changes)

    @classmethod
    def release(cls, **changes: Any) -> VAAL:
        """Return the objective and networks of the authors' published code, to compare with its numbers.

        Differs from `default`: mean squared error with a batch-summed KL (an effective β of β·batch·N/2 for
        N values an image, which collapses the posterior), a discriminator of 3 layers, two VAE steps a
        step, batches of 64, 100 epochs, its own VAE at 32x32, no holdout. Not reproduced: its evaluation
        faults (networks in training mode and random flips while scoring; L and U apart in BatchNorm).
        """
        settings = {"objective": "release", "discriminator_layers": 3, "vae_steps": 2, "epochs": 100,
                    "batch_size": 64, "architecture": "auto", "holdout": 0.0}  # fmt: skip
        return cls(**{**settings, **changes})

    def train(self, round: Round, size: tuple[int, int]) -> tuple[nn.Module, nn.Module, Tensor]:
        """Train the two in turn (Alg. 1); return them in eval mode, and which unlabeled images they saw, (N,) bool."""
        phase, fabric = self.seeded_phase(round), round.fabric
        networks = self.build(size)
        vae = Learner(fabric, networks[0], self.lr_vae)
        discriminator = Learner(fabric, networks[1], self.lr_discriminator)
        for batches in self.steps(
            round, phase, size, self.epochs, self.vae_steps, vae=vae, discriminator=discriminator
        ):
            for images in batches:
                transductive, adversarial = self.vae_losses(vae.wrapped, discriminator.network, images)  # Eq. 1, 2
                vae.descend(self.lambda_transductive * transductive + self.lambda_adversarial * adversarial)  # Eq. 4
            with fabric.autocast():
                d_loss = self.discriminator_loss(vae.network, discriminator.wrapped, images)  # Eq. 3
            discriminator.descend(d_loss)
            phase.step(vae=transductive.detach(), adversarial=adversarial.detach(), discriminator=d_loss.detach())
        self.log_discriminator(round, phase)
        return vae.network, discriminator.network, self.seen(round)

    def vae_losses(self, vae: nn.Module, discriminator: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return L_trd and L_adv of a batch: images (2B, 3, H, W), the labeled half first.

        Gradients reach the VAE alone.
        """
        reconstruction, target, mu, logvar = (part.float() for part in vae(images))
        half = len(images) // 2
        transductive = transductive_loss(self.objective, self.beta, reconstruction, target, mu, logvar, half)
        with frozen(discriminator):
            return transductive, adversarial_loss(discriminator(mu).float())

    def discriminator_loss(self, vae: nn.Module, discriminator: nn.Module, images: Tensor) -> Tensor:
        """Return L_D of a batch: images (2B, 3, H, W), the labeled half first. Gradients reach D alone."""
        return discriminator_loss(discriminator(self.means(vae, images)).float())


def transductive_loss(
    objective: str, beta: float, reconstruction: Tensor, target: Tensor, mu: Tensor, logvar: Tensor, half: int
) -> Tensor:
    """Return L_trd (Eq. 1, negated) of a batch whose first `half` images are labeled, the others not.

    Args:
        reconstruction, target: (2B, 3, h, w) in [-1, 1].
        mu, logvar: (2B, d) of the posterior.

    * ``"sigma"``: ``½·log(MSE) + (β/N)·mean_batch Σ_d KL_d`` with the MSE over L ∪ U and N values an image:
      −ELBO per value of a Gaussian whose variance is the optimal one (Rybkin, Daniilidis, Levine 2021, Eq. 7).
    * ``"elbo"``: ``½‖x − x̂‖² + β·Σ_d KL_d``, the mean over each of L and U, added.
    * ``"release"``: mean squared error plus β times the KL summed over batch and dimensions, for L and U, added.
    """
    kl = kl_per_dim(mu, logvar).sum(1)
    if objective == "sigma":
        values = target[0].numel()
        return 0.5 * F.mse_loss(reconstruction, target).clamp(min=1e-12).log() + beta / values * kl.mean()
    squares = (reconstruction - target).square().flatten(1)
    if objective == "elbo":
        per_image = 0.5 * squares.sum(1) + beta * kl
        return per_image[:half].mean() + per_image[half:].mean()
    return squares[:half].mean() + squares[half:].mean() + beta * kl.sum()


def adversarial_loss(logits: Tensor) -> Tensor:
    """Return ``BCE(D(μ_L), 1) + BCE(D(μ_U), 1)`` (Eq. 2) of logits (2B,), the labeled half first."""
    half = len(logits) // 2
    return sum_of_bce(logits, torch.ones_like(logits), half)


def discriminator_loss(logits: Tensor) -> Tensor:
    """Return ``BCE(D(μ_L), 1) + BCE(D(μ_U), 0)`` (Eq. 3) of logits (2B,), the labeled half first."""
    half = len(logits) // 2
    wanted = torch.ones_like(logits)
    wanted[half:] = 0
    return sum_of_bce(logits, wanted, half)


def sum_of_bce(logits: Tensor, wanted: Tensor, half: int) -> Tensor:
    """Return the mean binary cross-entropy of the first half plus that of the second."""
    bce = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return bce[:half].mean() + bce[half:].mean()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Keep gradients from a network's parameters; they still flow through it to its input."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
