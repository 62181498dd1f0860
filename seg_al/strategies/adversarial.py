"""What VAAL and its ablations share: training on both pools, a VAE, a discriminator on it, and sampling (Alg. 2)."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from typing_extensions import Self

from seg_al.config import UserError
from seg_al.models.discriminator import Discriminator
from seg_al.models.vae import VAE, ReleaseVAE, kl_per_dim
from seg_al.processes import synchronize
from seg_al.strategies.base import ScoreStrategy
from seg_al.strategies.vaal_diagnostics import collapse, diagnose

if TYPE_CHECKING:
    from seg_al.phase import Phase
    from seg_al.round import ImageView, Round

RECONSTRUCTED = 256
"""Images on which the reconstruction error is measured, so that diagnosing costs less than scoring."""

TABLE_3 = {
    "latent": 128, "objective": "elbo", "lambda_adversarial": 25.0, "lr_vae": 1e-3, "lr_discriminator": 1e-3,
    "epochs": 100, "batch_size": 8, "architecture": "auto", "holdout": 0.0,
}  # fmt: skip
"""The paper's hyperparameters for Cityscapes and BDD100K, and what its objective needs beside them."""


class Learner:
    """A network in training: itself, its wrapper for several processes, and its optimizer (Adam)."""

    def __init__(self, fabric: Fabric, network: nn.Module, lr: float) -> None:
        self.fabric = fabric
        self.network = network
        # Fused into one pass: on a CPU a step of the release's 23 million weights takes a quarter of the time.
        self.wrapped, self.optimizer = fabric.setup(network, torch.optim.Adam(network.parameters(), lr, fused=True))

    def descend(self, loss: Tensor) -> None:
        """Take one step down a loss."""
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()

    def finish(self) -> None:
        """Put the network in eval mode, without gradients and equal on every process."""
        synchronize(self.network, self.fabric)
        self.network.eval().requires_grad_(False)


class TwoPools(ScoreStrategy):
    """Base of VAAL and its ablations: networks of their own, trained each round on images of both pools.

    Random streams, checkpoint, losses and diagnostics of all of them go by the name "vaal", so that with one
    seed they meet the same batches, and TensorBoard draws them into one chart.
    """

    epochs: int = 50
    """Passes of training; what a pass is, `epoch_of` says."""

    epoch_of: Literal["labeled", "pool"] = "pool"
    """What an epoch counts: the labeled images, or as many images as the whole pool holds."""

    batch_size: int = 16
    """Labeled images a step, and as many unlabeled ones."""

    architecture: Literal["general", "auto"] = "general"
    """The VAE's network: "general" (any size, GroupNorm), or "auto": the release's where the input is 32x32,
    the general one elsewhere."""

    size: tuple[int, int] | None = None
    """Height and width at which the networks see the images; None: as the task model does."""

    holdout: float = 0.05
    """Share of the unlabeled images kept out of training (they are scored like all others), to measure by
    the AUC on them how much is memorised."""

    def __post_init__(self) -> None:
        self._at_least_one("epochs", "batch_size")
        if self.size is not None and min(self.size) < 1:
            raise UserError(f"{type(self).__name__}.size must be at least (1, 1), not {self.size}")
        if not 0 <= self.holdout < 1:
            raise UserError(f"{type(self).__name__}.holdout must be a share in [0, 1), not {self.holdout}")

    def check(self, round: Round, wanted: int) -> None:
        """Check that the images have a size the networks take, and that a batch can be shared out."""
        self.new_vae(1, self.input_size(round))
        phase = round.phase("check")
        phase.begin(1, 1)
        phase.batches(round.labeled, "labeled", self.batch_size)

    def _above_zero(self, *names: str) -> None:
        for name in names:
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{type(self).__name__}.{name} must be above 0 and finite, not {getattr(self, name)}")

    def _at_least_one(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise UserError(f"{type(self).__name__}.{name} must be at least 1, not {getattr(self, name)}")

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """Return the paper's Table 3 for Cityscapes and BDD100K, as far as this strategy has its settings.

        Differs from the defaults: 128 latent dimensions, the ELBO of unit variance summed per image and
        averaged over the batch, λ2 = 25, learning rates 1e-3 (the text says 5e-4), batches of 8, 100 epochs
        (the text says 50), no holdout.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{**{name: value for name, value in TABLE_3.items() if name in names}, **changes})

    def input_size(self, round: Round) -> tuple[int, int]:
        """Return the height and width at which the networks see the images.

        Raises:
            UserError: images of differing sizes and no `size` given.
        """
        size, name = self.size or round.unlabeled.size, type(self).__name__
        if size is None:
            raise UserError(f"{name} needs images of one size: give {name} a size=(height, width)")
        return size

    def new_vae(self, latent: int, size: tuple[int, int]) -> VAE | ReleaseVAE:
        """Return a new VAE for images of `size`, from torch's global random state."""
        small = self.architecture == "auto" and tuple(size) == (32, 32)
        return ReleaseVAE(latent) if small else VAE(latent, size)

    def seeded_phase(self, round: Round) -> Phase:
        """Return this round's training, with torch seeded for the networks' initial weights."""
        phase = round.phase("vaal")
        phase.seed_torch("initial weights")
        return phase

    def seen(self, round: Round) -> Tensor:
        """Return which unlabeled images are trained on, (N,) bool."""
        seen = torch.ones(len(round.unlabeled), dtype=torch.bool)
        seen[round.phase("vaal").rng("holdout").permutation(len(seen))[: int(self.holdout * len(seen))]] = False
        return seen

    def steps(
        self, round: Round, phase: Phase, size: tuple[int, int], epochs: int, fresh: int = 1, **learners: Learner
    ) -> Iterator[Iterator[Tensor]]:
        """Yield the batches of each step of a training, for a loop whose body trains and calls ``phase.step``.

        Where there is a checkpoint, `learners` are restored and the steps are those that are left. When the
        loop ends, their networks are in eval mode and equal on every process.

        Args:
            fresh: batches a step.

        Yields:
            for each step, its batches: (2B, 3, H, W) in [0, 1] on the device, the labeled half first.
        """
        labeled = round.labeled.at(size, flip=True)
        unlabeled = round.unlabeled.at(size, flip=True).subset(self.seen(round).nonzero().flatten().numpy())
        counted = len(labeled) + (len(round.unlabeled) if self.epoch_of == "pool" else 0)
        steps = max(1, math.ceil(counted / self.batch_size))
        networks = {name: learner.network for name, learner in learners.items()}
        optimizers = {f"{name}_optimizer": learner.optimizer.optimizer for name, learner in learners.items()}
        phase.begin(epochs, steps, **networks, **optimizers)
        pools = [
            phase.batches(view, name, self.batch_size, per_step=fresh)
            for name, view in (("labeled", labeled), ("unlabeled", unlabeled))
        ]
        for _ in phase.epochs():
            for _ in range(steps):
                # One forward of both, so that a BatchNorm cannot tell the two apart by their statistics.
                yield (round.to_input(torch.cat([next(pool) for pool in pools])) for _ in range(fresh))
        for learner in learners.values():
            phase.check_finite(learner.network)
            learner.finish()
        round.seconds["acquisition"] = round.seconds.get("acquisition", 0.0) + phase.seconds

    def log(self, round: Round, report: Mapping[str, Any]) -> None:
        """Log diagnostics beside those already there; warn where they say that the scores are noise."""
        round.log(vaal={**round.diagnostics.get("vaal", {}), **report})
        for warning in collapse(report, type(self).__name__):
            warnings.warn(f"{round.title}: {warning}: this query is close to a random one", stacklevel=2)

    def log_discriminator(self, round: Round, phase: Phase) -> None:
        """Log D's loss in the last epoch, beside that of a D that cannot tell the pools apart."""
        self.log(
            round, {"discriminator_loss": phase.means["discriminator"], "discriminator_loss_chance": 2 * math.log(2)}
        )


class LatentSpace(TwoPools):
    """Base of the strategies that look at images in the latent space of a VAE."""

    latent: int = 32
    """Dimensions of the latent space."""

    objective: Literal["sigma", "elbo", "release"] = "sigma"
    """Form of −ELBO: "sigma" (Gaussian likelihood of optimal variance), "elbo" (unit variance, summed per
    image) or "release" (mean squared error plus a KL summed over the batch, which collapses the VAE)."""

    beta: float = 1.0
    """Weight β of the KL term."""

    lr_vae: float = 5e-4
    """Adam's learning rate for the VAE."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("latent")
        self._above_zero("lr_vae")

    def reconstruction(self, round: Round, vae: nn.Module, images: ImageView) -> dict[str, float]:
        """Return MSE / Var(x) of reconstructions from μ, 1 for a VAE that knows the mean alone; show some."""
        sample = torch.linspace(0, len(images) - 1, min(RECONSTRUCTED, len(images))).long()

        def squared_error(batch: Tensor) -> Tensor:
            reconstruction, target = vae.decode(vae.encode(batch)[0]), vae.target(batch)  # type: ignore[operator]
            parts = ((reconstruction - target).square(), target, target.square())
            return torch.stack([part.float().flatten(1).mean(1) for part in parts], dim=1)

        mse, mean, square = round.map(squared_error, images.subset(sample.numpy()), timed_as="diagnose").mean(0)
        first = round.to_input(torch.stack([images[i] for i in range(min(8, len(images)))]))
        with torch.no_grad():
            round.show("vaal/reconstructions", vae.target(first), vae.decode(vae.encode(first)[0]))  # type: ignore[operator]
        return {"mse_over_variance": float(mse / (square - mean**2).clamp(min=1e-12))}


class LatentDiscriminator(LatentSpace):
    """Base of the strategies that ask a discriminator D on the VAE's mean μ; `train` is the subclass's.

    The score is ``1 − D(μ)`` (Alg. 2), of both networks in eval mode and without augmentation.
    """

    lr_discriminator: float = 5e-4
    """Adam's learning rate for the discriminator."""

    discriminator_layers: int = 5
    """Linear layers of the discriminator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("discriminator_layers")
        self._above_zero("lr_discriminator")

    def score(self, round: Round) -> Tensor:
        """Train VAE and discriminator on this round's pools; return ``1 − D(μ)``, (N,) in [0, 1].

        Raises:
            UserError: images of differing sizes and no `size` given, or a loss that is not finite.
        """
        size = self.input_size(round)
        vae, discriminator, seen = self.train(round, size)
        labeled, unlabeled = round.labeled.at(size), round.unlabeled.at(size)
        rows = self.posteriors(round, vae, discriminator, unlabeled)
        labeled_rows = self.posteriors(round, vae, discriminator, labeled, timed_as="diagnose")
        self._log(round, vae, unlabeled, rows, labeled_rows, seen)
        return self.scores(rows)

    def train(self, round: Round, size: tuple[int, int]) -> tuple[nn.Module, nn.Module, Tensor]:
        """Train the two networks; return them in eval mode, and which unlabeled images they saw, (N,) bool."""
        raise NotImplementedError

    def build(self, size: tuple[int, int]) -> tuple[nn.Module, nn.Module]:
        """Return a new VAE and discriminator for images of `size`, from torch's global random state."""
        return self.new_vae(self.latent, size), Discriminator(self.latent, layers=self.discriminator_layers)

    def means(self, vae: nn.Module, images: Tensor) -> Tensor:
        """Return μ of images (B, 3, H, W), (B, d), without gradients: what D sees where the VAE is fixed."""
        with torch.no_grad():
            return vae.encode(images)[0].float()  # type: ignore[operator]

    def posteriors(
        self, round: Round, vae: nn.Module, discriminator: nn.Module, images: ImageView, timed_as: str = "score"
    ) -> Tensor:
        """Return rows of D's logit, μ and KL per dimension for a view of images, (N, 1 + 2d): one encoder pass."""

        def posterior(batch: Tensor) -> Tensor:
            mu, logvar = (part.float() for part in vae.encode(batch))  # type: ignore[operator]
            return torch.cat([discriminator(mu).float()[:, None], mu, kl_per_dim(mu, logvar)], dim=1)

        return round.map(posterior, images, timed_as)

    def scores(self, rows: Tensor) -> Tensor:
        """Return ``1 − D(μ)`` of `posteriors`' rows, (N,) in [0, 1]."""
        return 1 - rows[:, 0].double().sigmoid()

    def _log(
        self, round: Round, vae: nn.Module, unlabeled: ImageView, rows: Tensor, labeled_rows: Tensor, seen: Tensor
    ) -> None:
        self.log(round, {**diagnose(rows, labeled_rows, seen), **self.reconstruction(round, vae, unlabeled)})
