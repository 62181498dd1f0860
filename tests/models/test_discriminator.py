import pytest
import torch
from torch import nn

from seg_al.models.discriminator import Discriminator, PixelDiscriminator
from seg_al.models.vae import VAE, ReleaseVAE


@pytest.mark.parametrize(
    "layers, parameters",  # by hand, latent 32: 32·512+512, then 512·512+512 each, then 512+1
    [(5, 16896 + 3 * 262656 + 513), (3, 16896 + 262656 + 513), (1, 33)],
)
def test_layers_of_paper_and_release(layers, parameters):
    discriminator = Discriminator(32, layers=layers)
    assert sum(isinstance(m, nn.Linear) for m in discriminator.modules()) == layers
    assert sum(isinstance(m, nn.ReLU) for m in discriminator.modules()) == layers - 1
    assert sum(p.numel() for p in discriminator.parameters()) == parameters


def test_logits_are_raw_and_start_undecided():
    torch.manual_seed(0)
    discriminator = Discriminator(128)
    with torch.no_grad():
        logits = discriminator(torch.randn(256, 128))
    assert logits.shape == (256,)
    assert logits.min() < 0 < logits.max(), "raw logits, not probabilities"
    assert 0.05 < logits.std() < 5, "neither constant nor saturated"


def test_it_learns_which_pool_a_latent_comes_from():
    torch.manual_seed(0)
    discriminator = Discriminator(8)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
    mu = torch.randn(128, 8)
    labeled = (mu[:, 0] * mu[:, 1] > 0).float()  # no linear classifier can tell
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(discriminator(mu), labeled)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((discriminator(mu) > 0) == labeled.bool()).float().mean() > 0.95


def test_a_discriminator_has_a_layer():
    with pytest.raises(ValueError, match="at least one layer"):
        Discriminator(8, layers=0)


@pytest.mark.parametrize("vae", [VAE(6, (48, 64), channels=(8, 16)), ReleaseVAE(6)], ids=["VAE", "release"])
def test_the_one_on_pixels_is_the_encoders_trunk_and_a_logit(vae):
    torch.manual_seed(0)
    vae.eval()
    discriminator = PixelDiscriminator(vae).eval()
    x = torch.rand(3, 3, *vae.size)
    trunk = sum(p.numel() for p in vae.encoder.parameters())
    assert sum(p.numel() for p in discriminator.parameters()) == trunk + vae.mu.in_features + 1
    vae.mu.weight.data[:] = discriminator.logit.weight  # then every dimension of the mean is the logit
    vae.mu.bias.data[:] = discriminator.logit.bias
    logits = discriminator(x)
    assert logits.shape == (3,) and logits.std() > 1e-4
    torch.testing.assert_close(logits[:, None].expand(3, 6), vae.encode(x)[0])
    logits.sum().backward()
    assert [name for name, p in discriminator.named_parameters() if p.grad is None] == []


def test_the_one_on_pixels_starts_undecided_and_learns_a_texture():
    torch.manual_seed(0)
    discriminator = PixelDiscriminator(VAE(1, (32, 32), channels=(8, 16)))
    x = torch.rand(32, 3, 32, 32)
    x[:16] = nn.functional.avg_pool2d(x[:16], 3, 1, 1)  # labeled ones are smooth; the mean colour tells nothing
    labeled = torch.arange(32) < 16
    with torch.no_grad():
        assert 0.2 < discriminator(x).sigmoid().mean() < 0.8
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    for _ in range(20):
        loss = nn.functional.binary_cross_entropy_with_logits(discriminator(x), labeled.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fresh = torch.rand(32, 3, 32, 32)
    fresh[:16] = nn.functional.avg_pool2d(fresh[:16], 3, 1, 1)
    assert ((discriminator(fresh) > 0) == labeled).float().mean() > 0.95
