"""Throughput of VAAL's training on images of 32 pixels, as a multiple of that of a loop such as the release's.

    OMP_NUM_THREADS=2 python tools/benchmark_vaal.py [--pairs 7] [--only default]

The release (the code published by the paper's authors) sends labeled and unlabeled images through the VAE apart, and
for a step of the discriminator runs the whole VAE, decoder included, once more on each. Here that loop is written anew;
against it runs `VAAL.train` itself. Both have the same networks, initial weights, noise, batches, and number of VAE
steps for one of D; both find their batches in memory, as uint8, so that loading is in neither. They take turns, so that
a machine whose speed drifts slows both; the ratio is the median over the pairs.

Before it measures, the tool compares the losses of the two, step by step. With GroupNorm they are equal; the exit code
is 1 if not. With the BatchNorm of the release's VAE they differ by design: labeled and unlabeled images are normalised
apart there, and together here.

"counted" is the ratio to expect from multiplications alone, of forward and backward passes: what the decoder's share in
a step of the discriminator costs. Two VAE steps for one of the discriminator make it smaller.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seg_al import CIFAR10, VAAL, Classification
from seg_al.config import UserError, nearest, run_tool
from seg_al.data.views import ImageView, to_input
from seg_al.phase import Phase
from seg_al.round import Round

SIZE = (32, 32)

CASES = {
    "default": (VAAL.default(), 24),
    "release": (VAAL.release(), 3),
    "release-vae": (VAAL.default(architecture="auto"), 8),
}
"""By name: settings, and steps of a measurement. At 32 pixels "auto" is the release's VAE."""

GOAL = 1.15
"""How many times the throughput of the release's loop is aimed at."""

SAME = 1e-4
"""Relative difference of losses up to which it is rounding; found 5e-7."""


@dataclass
class Batches:
    """Batches in memory, (B, 3, 32, 32) uint8 each, as many of each pool as a training takes."""

    labeled: list[Tensor]
    unlabeled: list[Tensor]


@dataclass
class Training:
    """What is noted of a training: L_trd, L_adv and L_D of each step, and when it ended."""

    losses: list[tuple[float, float, float]] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def note(self, transductive: Tensor, adversarial: Tensor, discriminator: Tensor) -> None:
        """Note a step that is done."""
        self.losses.append((float(transductive), float(adversarial), float(discriminator)))
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Seconds a step, without the first, which sets the networks up."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


class Ready(Phase):
    """The phase of a training whose batches lie in memory."""

    def __init__(self, batches: Batches, training: Training) -> None:
        super().__init__("vaal", Fabric(accelerator="cpu"), (0, 0), title="VAAL.train")
        self.ready, self.training = batches, training

    def batches(self, view: Any, name: str, *_: Any, **__: Any) -> Iterator[Tensor]:
        """Return the batches of a pool, whatever its view."""
        return iter(getattr(self.ready, name))

    def step(self, **values: Tensor) -> None:
        """Count a step and note its losses."""
        super().step(**values)
        self.training.note(values["vae"], values["adversarial"], values["discriminator"])


def ours(strategy: VAAL, batches: Batches) -> Training:
    """Train with `VAAL.train`, for as many steps as there are batches."""
    training = Training()
    phase = Ready(batches, training)
    steps = len(batches.labeled) // strategy.vae_steps
    # never read: only their numbers count, which make an epoch of as many steps
    labeled, unlabeled = (ImageView(np.zeros, [], range(count), SIZE) for count in (1, steps * strategy.batch_size - 1))
    round = Round(nn.Identity(), Classification(), labeled, unlabeled, fabric=phase.fabric, new_phase=lambda _: phase)
    replace(strategy, epochs=1, epoch_of="pool").train(round, SIZE)
    return training


def release_style(strategy: VAAL, batches: Batches) -> Training:
    """Train as the release does: both pools apart, and the whole VAE for a step of the discriminator too."""
    training, seeds = Training(), Ready(batches, Training())
    seeds.seed_torch("initial weights")
    vae, discriminator = strategy.build(SIZE)
    vae_optimizer = torch.optim.Adam(vae.parameters(), strategy.lr_vae)
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), strategy.lr_discriminator)
    seeds.seed_torch("epoch", 0, 0)
    apart = torch.Generator().manual_seed(0)  # so that the noise of the VAE's steps stays that of `VAAL.train`
    labeled, unlabeled = iter(batches.labeled), iter(batches.unlabeled)

    def bce(mu: Tensor, wanted: float) -> Tensor:
        found = discriminator(mu).sigmoid()
        return F.binary_cross_entropy(found, torch.full_like(found, wanted))

    for _ in range(len(batches.labeled) // strategy.vae_steps):
        for _ in range(strategy.vae_steps):
            x_l, x_u = to_input(next(labeled), "cpu"), to_input(next(unlabeled), "cpu")
            noise = torch.randn(2 * len(x_l), strategy.latent).chunk(2)
            of_l, of_u = vae(x_l, noise[0]), vae(x_u, noise[1])
            transductive = minus_elbo(strategy, of_l, of_u)
            adversarial = bce(of_l[2], 1) + bce(of_u[2], 1)
            vae_optimizer.zero_grad()
            (strategy.lambda_transductive * transductive + strategy.lambda_adversarial * adversarial).backward()
            vae_optimizer.step()
        with torch.no_grad():
            mus = [vae(x, torch.randn(len(x), strategy.latent, generator=apart))[2] for x in (x_l, x_u)]
        loss = bce(mus[0], 1) + bce(mus[1], 0)
        discriminator_optimizer.zero_grad()
        loss.backward()
        discriminator_optimizer.step()
        training.note(transductive.detach(), adversarial.detach(), loss.detach())
    return training


def minus_elbo(strategy: VAAL, labeled: tuple[Tensor, ...], unlabeled: tuple[Tensor, ...]) -> Tensor:
    """Return L_trd of two outputs of a VAE (reconstruction, target, μ, log σ²)."""
    errors, kls = [], []
    for reconstruction, target, mu, logvar in (labeled, unlabeled):
        errors.append(F.mse_loss(reconstruction, target))
        kls.append(-0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum())
    if strategy.objective == "release":
        return errors[0] + errors[1] + strategy.beta * (kls[0] + kls[1])
    if strategy.objective == "sigma":
        values, images = labeled[1][0].numel(), 2 * len(labeled[1])
        return 0.5 * (sum(errors) / 2).log() + strategy.beta / values * sum(kls) / images  # type: ignore[union-attr]
    raise UserError(f"no objective {strategy.objective!r} here; it has: release, sigma")


def difference(strategy: VAAL, batches: Batches) -> float:
    """Return the largest relative difference of the losses of the two loops, over all steps."""
    a, b = (np.array(train(strategy, batches).losses) for train in (ours, release_style))
    return float((np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))).max())


def counted(strategy: VAAL) -> float:
    """Return the ratio of the multiplications of the two loops; a backward pass has twice those of a forward pass."""
    vae = strategy.build(SIZE)[0].eval()
    totals = []
    for forward in (vae, vae.encode):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            forward(torch.zeros(1, 3, *SIZE))  # type: ignore[operator]
        totals.append(counter.get_total_flops())
    whole, encoder = totals
    steps = strategy.vae_steps * 3 * whole
    return (steps + whole) / (steps + encoder)


def read(count: int) -> tuple[str, np.ndarray]:
    """Return images (N, 32, 32, 3) uint8 from all over CIFAR10, or random pixels where it is not there, and which."""
    try:
        samples = CIFAR10().samples("train")
    except UserError:
        return "random pixels", np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)
    return "CIFAR10", np.stack([samples.image(i * len(samples) // count) for i in range(count)])


def draw(images: np.ndarray, strategy: VAAL, steps: int) -> Batches:
    """Draw batches for some steps from images (N, 32, 32, 3) uint8; every other one counts as labeled."""
    rng, pixels = np.random.default_rng(0), torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    batches = range(steps * strategy.vae_steps)
    return Batches(*(
        [pool[torch.from_numpy(rng.permutation(len(pool))[: strategy.batch_size])] for _ in batches]
        for pool in (pixels[::2], pixels[1::2])
    ))  # fmt: skip


def main(pairs: int = 5, checked: int = 2, only: tuple[str, ...] = ()) -> int:
    """Compare losses, then measure.

    Args:
        pairs: measurements of each loop.
        checked: steps whose losses are compared.
        only: names of the cases to measure: default, release, release-vae; all where none is given.
    """
    for name in only:
        if name not in CASES:
            raise UserError(f"no case {name!r} here{nearest(name, list(CASES))}")
    kind, images = read(512)
    threads = torch.get_num_threads()
    print(f"{kind} at {SIZE[0]}x{SIZE[1]}, {threads} threads, {pairs} pairs; training steps alone, images/s")
    print(
        "                                       release-                                          difference of losses"
    )
    print(
        "case        VAE        batch VAE steps    style    ours  ratio (from, to)  goal counted  GroupNorm  BatchNorm"
    )
    failed = False
    for name, (strategy, steps) in CASES.items():
        if only and name not in only:
            continue
        general = replace(strategy, architecture="general")
        few = draw(images, strategy, checked)
        found, by_design = difference(general, few), ""
        if strategy != general:
            by_design = f"{difference(strategy, few):9.0e}"
        failed |= not found <= SAME
        batches = draw(images, strategy, steps + 1)
        measured = [(release_style(strategy, batches).seconds, ours(strategy, batches).seconds) for _ in range(pairs)]
        ratios = [theirs / mine for theirs, mine in measured]
        least, middle, most = min(ratios), statistics.median(ratios), max(ratios)
        count = 2 * strategy.batch_size * strategy.vae_steps
        theirs, mine = (count / statistics.median(times) for times in zip(*measured, strict=True))
        vae = "general" if strategy == general else "ReleaseVAE"
        batch = f"{strategy.batch_size}+{strategy.batch_size}"
        print(
            f"{name:11} {vae:10} {batch:>5} {strategy.vae_steps:9} {theirs:8.1f} {mine:7.1f} {middle:6.3f} "
            f"({least:.2f}, {most:.2f}) {GOAL:.2f} {counted(strategy):7.2f}  {found:9.0e}  {by_design}",
            flush=True,
        )
    if failed:
        print(f"DIFFERENT LOSSES: by more than {SAME:g} with GroupNorm")
    return int(failed)


if __name__ == "__main__":
    run_tool(lambda: tyro.cli(main, description=__doc__))
