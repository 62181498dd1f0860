import pytest
import torch
from torch import nn

from seg_al.models.discriminator import Discriminator


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
