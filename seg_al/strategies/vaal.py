"""Variational Adversarial Active Learning: Sinha, Ebrahimi, Darrell, ICCV 2019."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.models.discriminator import Discriminator
from seg_al.models.vae import VAE, ReleaseVAE, kl_per_dim
from seg_al.strategies.base import ScoreStrategy
from seg_al.strategies.vaal_diagnostics import collapse, diagnose

if TYPE_CHECKING:
    from seg_al.round import Round

RECONSTRUCTED = 256
"""Images on which the reconstruction error is measured, so that diagnosing costs less than scoring."""


class VAAL(ScoreStrategy):
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

    latent: int = 32
    """Dimensions of the latent space."""

    objective: Literal["sigma", "elbo", "release"] = "sigma"
    """Form of −ELBO: "sigma" (Gaussian likelihood of optimal variance), "elbo" (unit variance, summed per
    image) or "release" (mean squared error plus a KL summed over the batch, which collapses the VAE)."""

    beta: float = 1.0
    """Weight β of the KL term."""

    lambda_transductive: float = 1.0
    """Weight λ1 of the transductive loss."""

    lambda_adversarial: float = 1.0
    """Weight λ2 of the adversarial loss."""

    lr_vae: float = 5e-4
    """Adam's learning rate for the VAE."""

    lr_discriminator: float = 5e-4
    """Adam's learning rate for the discriminator."""

    epochs: int = 50
    """Passes of training; what a pass is, `epoch_of` says."""

    epoch_of: Literal["labeled", "pool"] = "pool"
    """What an epoch counts: the labeled images, or as many images as the whole pool holds."""

    batch_size: int = 16
    """Labeled images a step, and as many unlabeled ones."""

    vae_steps: int = 1
    """Steps of the VAE, each on fresh batches, for one step of the discriminator."""

    discriminator_layers: int = 5
    """Linear layers of the discriminator."""

    architecture: Literal["general", "auto"] = "general"
    """VAE: "general" (any size, GroupNorm), or "auto": the release's network where the input is 32x32,
    the general one elsewhere."""

    size: tuple[int, int] | None = None
    """Height and width at which VAAL sees the images; None: as the task model does."""

    holdout: float = 0.05
    """Share of the unlabeled images kept out of training (they are scored like all others), to measure by
    the discriminator's AUC on them how much it memorises."""

    def __post_init__(self) -> None:
        for name in ("latent", "epochs", "batch_size", "vae_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"VAAL.{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.holdout < 1:
            raise UserError(f"VAAL.holdout must be a share in [0, 1), not {self.holdout}")

    @classmethod
    def default(cls, **changes: Any) -> VAAL:
        """Return a VAAL whose VAE does not collapse: the σ-VAE objective with λ2 = 1; the class's defaults."""
        return cls(**changes)

    @classmethod
    def paper(cls, **changes: Any) -> VAAL:
        """Return the paper's Table 3 for Cityscapes and BDD100K.

        Differs from `default`: 128 latent dimensions, the ELBO of unit variance summed per image and
        averaged over the batch, λ2 = 25, learning rates 1e-3 (the text says 5e-4), batches of 8, 100 epochs
        (the text says 50), no holdout.
        """
        settings = {"latent": 128, "objective": "elbo", "lambda_adversarial": 25.0, "lr_vae": 1e-3,
                    "lr_discriminator": 1e-3, "epochs": 100, "batch_size": 8, "architecture": "auto",
                    "holdout": 0.0}  # fmt: skip
        return cls(**{**settings, **changes})

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

    def score(self, round: Round) -> Tensor:
        """Train VAE and discriminator on this round's pools; return ``1 − D(μ)``, (N,) in [0, 1].

        Raises:
            UserError: images of differing sizes and no `size` given, or a loss that is not finite.
        """
        size = self.size or round.unlabeled.size
        if size is None:
            raise UserError("VAAL needs images of one size: give VAAL a size=(height, width)")
        vae, discriminator, seen = self.train(round, size)
        labeled, unlabeled = round.labeled.at(size), round.unlabeled.at(size)
        rows = self.posteriors(round, vae, discriminator, unlabeled)
        labeled_rows = self.posteriors(round, vae, discriminator, labeled, timed_as="diagnose")
        self._log(round, vae, unlabeled, rows, labeled_rows, seen)
        return self.scores(rows)

    def train(self, round: Round, size: tuple[int, int]) -> tuple[nn.Module, nn.Module, Tensor]:
        """Train the two networks; return them in eval mode, and which unlabeled images they saw, (N,) bool."""
        phase, fabric = round.phase("vaal"), round.fabric
        phase.seed_torch("initial weights")
        vae, discriminator = self.build(size)
        wrapped_vae, vae_optimizer = fabric.setup(vae, torch.optim.Adam(vae.parameters(), self.lr_vae))
        wrapped_d, d_optimizer = fabric.setup(
            discriminator, torch.optim.Adam(discriminator.parameters(), self.lr_discriminator)
        )
        seen = torch.ones(len(round.unlabeled), dtype=torch.bool)
        seen[phase.rng("holdout").permutation(len(seen))[: int(self.holdout * len(seen))]] = False
        labeled = round.labeled.at(size, flip=True)
        unlabeled = round.unlabeled.at(size, flip=True).subset(seen.nonzero().flatten().numpy())

        counted = len(labeled) + (len(round.unlabeled) if self.epoch_of == "pool" else 0)
        steps = max(1, math.ceil(counted / self.batch_size))
        phase.begin(
            self.epochs, steps, vae=vae, discriminator=discriminator,
            vae_optimizer=vae_optimizer.optimizer, discriminator_optimizer=d_optimizer.optimizer,
        )  # fmt: skip
        labeled_batches = phase.batches(labeled, "labeled", self.batch_size, per_step=self.vae_steps)
        unlabeled_batches = phase.batches(unlabeled, "unlabeled", self.batch_size, per_step=self.vae_steps)
        for _ in phase.epochs():
            for _ in range(steps):
                for _ in range(self.vae_steps):
                    pair = (next(labeled_batches), next(unlabeled_batches))
                    # One forward of both, so that a BatchNorm cannot tell the two apart by their statistics.
                    images = round.to_input(torch.cat(pair))
                    transductive, adversarial = self.vae_losses(wrapped_vae, discriminator, images)
                    loss = self.lambda_transductive * transductive + self.lambda_adversarial * adversarial
                    vae_optimizer.zero_grad()
                    fabric.backward(loss)
                    vae_optimizer.step()
                with fabric.autocast():
                    d_loss = self.discriminator_loss(vae, wrapped_d, images)
                d_optimizer.zero_grad()
                fabric.backward(d_loss)
                d_optimizer.step()
                phase.step(vae=transductive.detach(), adversarial=adversarial.detach(), discriminator=d_loss.detach())
        round.seconds["acquisition"] = phase.seconds
        round.log(
            vaal={"discriminator_loss": phase.means["discriminator"], "discriminator_loss_chance": 2 * math.log(2)}
        )
        return vae.eval().requires_grad_(False), discriminator.eval().requires_grad_(False), seen

    def build(self, size: tuple[int, int]) -> tuple[nn.Module, nn.Module]:
        """Return a new VAE and discriminator for images of `size`, from torch's global random state."""
        small = self.architecture == "auto" and tuple(size) == (32, 32)
        vae = ReleaseVAE(self.latent) if small else VAE(self.latent, size)
        return vae, Discriminator(self.latent, layers=self.discriminator_layers)

    def vae_losses(self, vae: nn.Module, discriminator: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return L_trd and L_adv of a batch: images (2B, 3, H, W), the labeled half first.

        Gradients reach the VAE alone.
        """
        reconstruction, target, mu, logvar = vae(images)
        half = len(images) // 2
        transductive = transductive_loss(
            self.objective, self.beta, reconstruction.float(), target.float(), mu.float(), logvar.float(), half
        )
        with frozen(discriminator):
            return transductive, adversarial_loss(discriminator(mu.float()).float())

    def discriminator_loss(self, vae: nn.Module, discriminator: nn.Module, images: Tensor) -> Tensor:
        """Return L_D of a batch: images (2B, 3, H, W), the labeled half first. Gradients reach D alone."""
        with torch.no_grad():
            mu, _ = vae.encode(images)  # type: ignore[operator]
        return discriminator_loss(discriminator(mu.float()).float())

    def posteriors(
        self, round: Round, vae: nn.Module, discriminator: nn.Module, images: Any, timed_as: str = "score"
    ) -> Tensor:
        """Return rows of D's logit, μ and KL per dimension for a view of images, (N, 1 + 2d): one encoder pass."""

        def posterior(images: Tensor) -> Tensor:
            mu, logvar = (part.float() for part in vae.encode(images))  # type: ignore[operator]
            return torch.cat([discriminator(mu).float()[:, None], mu, kl_per_dim(mu, logvar)], dim=1)

        return round.map(posterior, images, timed_as)

    def scores(self, rows: Tensor) -> Tensor:
        """Return ``1 − D(μ)`` of `posteriors`' rows, (N,) in [0, 1]."""
        return 1 - rows[:, 0].double().sigmoid()

    def _log(
        self, round: Round, vae: nn.Module, unlabeled: Any, rows: Tensor, labeled_rows: Tensor, seen: Tensor
    ) -> None:
        sample = torch.linspace(0, len(unlabeled) - 1, min(RECONSTRUCTED, len(unlabeled))).long()

        def squared_error(images: Tensor) -> Tensor:
            reconstruction, target = vae.decode(vae.encode(images)[0]), vae.target(images)  # type: ignore[operator]
            parts = ((reconstruction - target).square(), target, target.square())
            return torch.stack([part.float().flatten(1).mean(1) for part in parts], dim=1)

        mse, mean, square = round.map(squared_error, unlabeled.subset(sample.numpy()), timed_as="diagnose").mean(0)
        report = diagnose(rows, labeled_rows, seen)
        report["mse_over_variance"] = float(mse / (square - mean**2).clamp(min=1e-12))
        round.log(vaal={**round.diagnostics.get("vaal", {}), **report})
        for warning in collapse(report):
            warnings.warn(f"{round.title}: {warning}: this query is close to a random one", stacklevel=2)
        first = round.to_input(torch.stack([unlabeled[i] for i in range(min(8, len(unlabeled)))]))
        with torch.no_grad():
            round.show("vaal/reconstructions", vae.target(first), vae.decode(vae.encode(first)[0]))  # type: ignore[operator]


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
