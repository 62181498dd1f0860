"""VAAL.release: what one step of its training really descends, against formulas in NumPy; its networks' sizes.

Both on images of CIFAR10, where $SEG_AL_DATA has them, and on random ones.
"""

from __future__ import annotations

import copy
import os
import tarfile
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from rounds import make_round
from torch import Tensor, nn

from seg_al import VAAL
from seg_al.data.views import ImageView
from seg_al.models.discriminator import Discriminator
from seg_al.models.vae import ReleaseVAE
from seg_al.phase import Phase
from seg_al.strategies.adversarial import Learner

HALF = 3
"""Labeled images a batch, and as many unlabeled ones."""

ARCHIVE = Path(os.environ.get("SEG_AL_DATA", "/nonexistent")) / "cifar10.tar.gz"


@pytest.fixture(scope="module", params=["random", "CIFAR10"])
def images(request: pytest.FixtureRequest) -> np.ndarray:
    """Return (30, 32, 32, 3) uint8."""
    if request.param == "random":
        return np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    if not ARCHIVE.is_file():
        pytest.skip("needs $SEG_AL_DATA/cifar10.tar.gz")
    with tarfile.open(ARCHIVE, "r:gz") as archive:
        files = (archive.extractfile(member) for member in archive if member.isfile())
        return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in islice(files, 30) if file])


@pytest.fixture(scope="module")
def seen(images: np.ndarray) -> Seen:
    return train(images)


@dataclass
class Seen:
    """What went on in a training, in order."""

    networks: tuple[nn.Module, nn.Module] = ()  # type: ignore[assignment]  # copies of the initial ones
    learners: list[Learner] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)  # of the encoder
    decoded: int = 0
    noise: list[Tensor] = field(default_factory=list)
    outputs: list[tuple[Tensor, ...]] = field(default_factory=list)  # of the VAE: reconstruction, target, μ, log σ²
    means: list[Tensor] = field(default_factory=list)  # what D was asked about
    logits: list[Tensor] = field(default_factory=list)
    descended: list[tuple[nn.Module, float]] = field(default_factory=list)  # network and loss of each optimizer step
    recorded: list[dict[str, float]] = field(default_factory=list)


def train(images: np.ndarray, **changes: object) -> Seen:
    """Train for one step with the release's preset, and watch."""
    seen = Seen()
    build, descend, step, randn_like = VAAL.build, Learner.descend, Phase.step, torch.randn_like

    def watched_build(self: VAAL, size: tuple[int, int]) -> tuple[nn.Module, nn.Module]:
        vae, discriminator = build(self, size)
        seen.networks = copy.deepcopy((vae, discriminator))
        vae.encoder.register_forward_hook(lambda _m, x, _y: seen.inputs.append(x[0].detach().clone()))
        vae.decoder.register_forward_hook(lambda *_: setattr(seen, "decoded", seen.decoded + 1))
        vae.register_forward_hook(lambda _m, _x, y: seen.outputs.append(tuple(part.detach().clone() for part in y)))

        def asked(_module: nn.Module, x: tuple[Tensor], y: Tensor) -> None:
            seen.means.append(x[0].detach().clone())
            seen.logits.append(y.detach().clone())

        discriminator.register_forward_hook(asked)
        return vae, discriminator

    def watched_descend(self: Learner, loss: Tensor) -> None:
        seen.descended.append((self.network, loss.item()))
        descend(self, loss)
        if self not in seen.learners:
            seen.learners.append(self)

    def watched_step(self: Phase, **values: Tensor) -> None:
        seen.recorded.append({name: float(value) for name, value in values.items()})
        step(self, **values)

    def watched_noise(like: Tensor) -> Tensor:
        seen.noise.append(randn_like(like))
        return seen.noise[-1]

    ids = [f"{index}" for index in range(len(images))]
    labeled, unlabeled = (
        ImageView(lambda i: images[i], ids, rows, (32, 32)) for rows in (range(HALF), range(HALF, len(images)))
    )
    strategy = VAAL.release(**{"epochs": 1, "epoch_of": "labeled", "batch_size": HALF, **changes})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VAAL, "build", watched_build)
        patch.setattr(Learner, "descend", watched_descend)
        patch.setattr(Phase, "step", watched_step)
        patch.setattr(torch, "randn_like", watched_noise)
        strategy.train(replace(make_round(classify=True), labeled=labeled, unlabeled=unlabeled), (32, 32))
    return seen


# --- the formulas of the release, on arrays --------------------------------------------------------------------------


def numbers(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.double().numpy() for tensor in tensors]


def minus_elbo(reconstruction: np.ndarray, x: np.ndarray, mu: np.ndarray, logvar: np.ndarray) -> float:
    """Mean squared error over all values, plus the KL summed over images and dimensions (β = 1)."""
    return ((reconstruction - x) ** 2).sum() / x.size - 0.5 * (1 + logvar - mu**2 - np.exp(logvar)).sum()


def bce(logits: np.ndarray, wanted: float) -> float:
    p = 1 / (1 + np.exp(-logits))
    return -(wanted * np.log(p) + (1 - wanted) * np.log(1 - p)).sum() / len(p)


def test_a_step_is_two_of_the_vae_on_fresh_batches_and_one_of_d(images: np.ndarray, seen: Seen) -> None:
    vae, discriminator = (learner.network for learner in seen.learners)
    assert isinstance(vae, ReleaseVAE)
    assert [network for network, _ in seen.descended] == [vae, vae, discriminator]
    first, second, of_d = seen.inputs
    assert not torch.equal(first, second) and torch.equal(second, of_d)
    assert seen.decoded == 2  # D needs no reconstruction
    assert torch.equal(seen.outputs[0][1], first) and first.shape == (2 * HALF, 3, 32, 32)
    # which images these are: labeled ones first, pixels p of 0..255 as (p/255 − 0.5)/0.5, mirrored or not
    known = (images.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5
    for batch in (first, second):
        for place, x in enumerate(batch.numpy()):
            pool = known[:HALF] if place < HALF else known[HALF:]
            assert min(min(np.abs(k - x).max(), np.abs(k[..., ::-1] - x).max()) for k in pool) < 1e-6


def test_its_losses_are_those_of_the_formulas(seen: Seen) -> None:
    totals = []
    for step in (0, 1):
        reconstruction, x, mu, logvar = numbers(*seen.outputs[step])
        (logits,) = numbers(seen.logits[step])
        assert torch.equal(seen.means[step], seen.outputs[step][2])  # D sees μ, not a sampled z
        transductive = sum(
            minus_elbo(reconstruction[pool], x[pool], mu[pool], logvar[pool])
            for pool in (slice(HALF), slice(HALF, None))
        )
        adversarial = bce(logits[:HALF], 1) + bce(logits[HALF:], 1)
        totals.append(1.0 * transductive + 1.0 * adversarial)  # λ1, λ2
    (logits,) = numbers(seen.logits[2])
    of_d = bce(logits[:HALF], 1) + bce(logits[HALF:], 0)
    assert [loss for _, loss in seen.descended] == pytest.approx([*totals, of_d], rel=1e-5)
    (recorded,) = seen.recorded  # the step's last
    assert recorded == pytest.approx({"vae": transductive, "adversarial": adversarial, "discriminator": of_d}, rel=1e-5)


def test_its_gradients_are_those_of_the_formulas(images: np.ndarray) -> None:
    seen = train(images, vae_steps=1)
    vae, discriminator = seen.networks
    (x, again), noise = seen.inputs, seen.noise[0]
    assert torch.equal(x, again)

    # The VAE's: of L_VAE in the release's own terms, at the initial weights.
    features = vae.encoder(x)
    mu, logvar = vae.mu(features), vae.logvar(features)
    reconstruction = vae.decoder(mu + noise * logvar.exp().sqrt())
    kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar)
    p = discriminator(mu).sigmoid()
    loss = F.mse_loss(reconstruction[:HALF], x[:HALF]) + kl[:HALF].sum()
    loss = loss + F.mse_loss(reconstruction[HALF:], x[HALF:]) + kl[HALF:].sum()
    loss = loss - p[:HALF].log().mean() - p[HALF:].log().mean()
    wanted = torch.autograd.grad(loss, list(vae.parameters()))
    # Of one parameter by hand: the output's bias, of which every reconstructed value is 1 times.
    error = 2 * (reconstruction - x).detach() / (HALF * 3 * 32 * 32)
    torch.testing.assert_close(wanted[-1], error.sum((0, 2, 3)), rtol=1e-4, atol=1e-7)

    assert seen.learners[0].network is not vae
    compare(seen.learners[0], wanted)

    # D's, from the μ of the VAE after its step.
    logits = discriminator(seen.means[1])
    p = logits.sigmoid()
    loss = -p[:HALF].log().mean() - (1 - p[HALF:]).log().mean()
    compare(seen.learners[1], torch.autograd.grad(loss, list(discriminator.parameters())))


def compare(learner: Learner, wanted: tuple[Tensor, ...]) -> None:
    """Compare gradients with those that Adam has seen: after its first step its mean of them holds a tenth."""
    state = learner.optimizer.optimizer.state
    for (name, parameter), expected in zip(learner.network.named_parameters(), wanted, strict=True):
        found = 10 * state[parameter]["exp_avg"]
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            found, expected, rtol=1e-3, atol=1e-4 * scale + 1e-7, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_presets_weights_are_all_one() -> None:
    preset = VAAL.release()
    assert (preset.lambda_transductive, preset.lambda_adversarial, preset.beta) == (1, 1, 1)
    assert (preset.lr_vae, preset.lr_discriminator) == (5e-4, 5e-4)


# --- the networks' sizes, layer by layer -----------------------------------------------------------------------------


def sizes(network: nn.Module) -> list[int]:
    """Return the number of parameters of every layer that has some, in order."""
    layers = [module for module in network.modules() if not list(module.children())]
    counts = [sum(parameter.numel() for parameter in layer.parameters()) for layer in layers]
    return [count for count in counts if count]


def test_the_release_vae_layer_by_layer() -> None:
    latent, side, kernel = 32, 32, 4 * 4
    channels = [128, 256, 512, 1024]
    encoder, before = [], 3
    for after in channels:  # 4x4 convolution without bias, BatchNorm with a scale and a shift a channel; half the side
        encoder += [kernel * before * after, 2 * after]
        before, side = after, side // 2
    head = side * side * 1024 * latent + latent  # μ; and log σ²
    decoder = [latent * 1024 * 4 * 4 + 1024 * 4 * 4]  # Linear, with a bias, to 1024 maps of 4x4
    for before, after in ((1024, 512), (512, 256), (256, 128)):  # 4x4 transposed convolution and BatchNorm
        decoder += [kernel * before * after, 2 * after]
    decoder += [1 * 1 * 128 * 3 + 3]  # 1x1 to RGB, with a bias
    wanted = [*encoder, head, head, *decoder]
    vae = ReleaseVAE(latent)
    assert sizes(vae) == wanted
    assert sum(parameter.numel() for parameter in vae.parameters()) == sum(wanted) == 22_835_139


@pytest.mark.parametrize(("strategy", "layers"), [(VAAL.release(), 3), (VAAL.default(), 5)], ids=["release", "default"])
def test_the_discriminators_layer_by_layer(strategy: VAAL, layers: int) -> None:
    widths = [32, *[512] * (layers - 1), 1]
    wanted = [widths[k] * widths[k + 1] + widths[k + 1] for k in range(layers)]
    discriminator = strategy.build((32, 32))[1]
    assert isinstance(discriminator, Discriminator)
    assert sizes(discriminator) == wanted
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == sum(wanted)
