from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.utils.flop_counter import FlopCounterMode

from seg_al.config import UserError
from seg_al.models.vae import LOGVAR_MAX, VAE, ReleaseVAE, kl_per_dim, number_of_stages, reparameterize


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- the latent space ------------------------------------------------------------------------------------------------


def test_kl_is_that_of_torch_distributions():
    mu, logvar = 3 * torch.randn(5, 7, dtype=torch.double), torch.randn(5, 7, dtype=torch.double)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_per_dim(mu, logvar), expected)


def test_kl_is_that_of_numerical_integration():
    integrate = pytest.importorskip("scipy.integrate")
    norm = pytest.importorskip("scipy.stats").norm
    q = norm(0.7, 0.4)
    expected, _ = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - norm.logpdf(z)), -6, 6)
    kl = kl_per_dim(torch.tensor([[0.7]]), torch.tensor([[0.16]]).log())
    assert kl.shape == (1, 1) and kl.item() == pytest.approx(expected, rel=1e-5)


def test_samples_have_the_posteriors_moments():
    mu, logvar = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, -2.0]])
    z = reparameterize(mu.expand(40000, 2), logvar.expand(40000, 2))
    torch.testing.assert_close(z.mean(0), mu[0], atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(0), logvar[0].exp(), atol=0.03, rtol=0.03)


@pytest.mark.parametrize("vae", [VAE(16, (32, 32), channels=(8, 16)), ReleaseVAE(16)], ids=["VAE", "release"])
def test_noise_comes_from_the_global_random_state_or_the_caller(vae):
    vae.eval()
    x, noise = torch.rand(2, 3, 32, 32), torch.randn(2, 16)
    with torch.no_grad():
        if isinstance(vae, VAE):
            nn.init.normal_(vae.logvar.weight, std=0.01)
        runs = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            runs.append(vae(x)[0])
        assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
        assert torch.equal(vae(x, noise)[0], vae(x, noise)[0])
        mu, logvar = vae.encode(x)
        torch.testing.assert_close(vae(x, torch.zeros_like(noise))[0], vae.decode(mu))
        torch.testing.assert_close(vae(x, noise)[0], vae.decode(mu + noise * logvar.exp().sqrt()))


# --- VAE for any resolution ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size, stages",  # METHODS §2 at 688; by hand elsewhere
    [((32, 32), 2), ((96, 128), 4), ((224, 224), 5), ((181, 243), 5), ((688, 688), 6), ((1024, 512), 7)],
)  # fmt: skip
def test_number_of_stages(size, stages):
    assert number_of_stages(size) == stages


def test_last_map_is_7_to_13_pixels_for_every_size():
    for side in range(32, 1025):
        assert 7 <= side >> number_of_stages((32, side)) <= 13, side


@pytest.mark.parametrize(
    "size, target",
    [
        ((32, 32), (32, 32)),
        ((64, 64), (32, 32)),
        ((96, 128), (24, 32)),
        ((181, 243), (45, 60)),
        ((64, 640), (16, 160)),
        ((33, 500), (8, 125)),
    ],
)
def test_shapes_for_any_size(size, target):
    vae = VAE(12, size, channels=(8, 16, 16)).eval()
    with torch.no_grad():
        reconstruction, wanted, mu, logvar = vae(torch.rand(2, 3, *size))
    assert reconstruction.shape == wanted.shape == (2, 3, *target)
    assert mu.shape == logvar.shape == (2, 12)
    assert reconstruction.abs().max() <= 1 and wanted.abs().max() <= 1
    assert vae.decode(torch.randn(3, 12)).shape == (3, 3, *target)


def test_full_resolution_target():
    vae = VAE(12, (96, 128), channels=(8, 16), full_resolution_target=True)
    x = torch.rand(1, 3, 96, 128)
    assert vae(x)[0].shape == (1, 3, 96, 128)
    torch.testing.assert_close(vae.target(x), 2 * x - 1)


def test_maps_at_688_are_those_of_the_design_and_1024_has_one_more():
    with torch.device("meta"):
        assert [side for side, _ in VAE(128, (688, 688)).map_sizes((688, 688))] == [688, 344, 172, 86, 43, 21, 10]
        vae = VAE(128, (1024, 1024))
    assert vae.map_sizes((1024, 1024))[-1] == (8, 8) and len(vae.encoder) == 7
    assert vae.encoder[6][0].weight.shape == (512, 512, 4, 4)
    maps = vae.encoder(torch.empty(1, 3, 1024, 1024, device="meta"))
    assert maps.shape == (1, 512, 8, 8)


def test_recorded_sizes_are_those_of_the_encoder():
    for size in ((181, 243), (40, 700), (1000, 37)):
        vae = VAE(4, size, channels=(8,))
        seen = [size]
        for stage in vae.encoder:
            stage.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(tuple(out.shape[-2:])))
        vae.encode(torch.rand(1, 3, *size))
        assert seen == vae.map_sizes(size)
        assert min(seen[-1]) >= 4


def test_parameters_and_computation_at_688_stay_in_budget():
    vae = VAE(128, (688, 688)).eval()
    # By hand: 4x4 encoder convolutions, norms, heads; Linear, 3x3 decoder convolutions, norms; last convolution.
    channels = [3, 32, 64, 128, 256, 512, 512]
    count = sum(16 * a * b + 2 * b for a, b in pairwise(channels))
    count += 2 * (512 * 16 * 128 + 128) + 128 * 512 * 16 + 512 * 16
    count += sum(9 * a * b + 2 * b for a, b in ((512, 512), (512, 512), (512, 256), (256, 128), (128, 64)))
    count += 64 * 3 * 9 + 3
    assert parameters(vae) == count
    assert count < 20e6
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        reconstruction, target, mu, _ = vae(torch.rand(1, 3, 688, 688))
    macs = counter.get_total_flops() / 2
    assert macs == pytest.approx(12.3e9, rel=0.01)
    assert reconstruction.shape == target.shape == (1, 3, 172, 172) and mu.shape == (1, 128)


def test_target_is_the_area_average_in_minus_one_to_one():
    vae = VAE(4, (128, 128), channels=(8,))
    x = torch.rand(1, 3, 128, 128)
    by_hand = x.view(1, 3, 32, 4, 32, 4).mean(dim=(3, 5)) * 2 - 1
    torch.testing.assert_close(vae.target(x), by_hand)
    assert vae.target(torch.zeros_like(x)).unique().tolist() == [-1.0]
    assert vae.target(torch.ones_like(x)).unique().tolist() == [1.0]


def test_other_sizes_than_the_constructors_work():
    vae = VAE(4, (256, 256), channels=(8, 16)).eval()
    for size in ((200, 300), (512, 128)):
        x = torch.rand(1, 3, *size)
        assert vae(x)[0].shape == vae.target(x).shape == (1, 3, size[0] // 4, size[1] // 4)
    with pytest.raises(UserError, match="20x20 pixels are too small"):
        vae.encode(torch.rand(1, 3, 20, 20))
    with pytest.raises(UserError, match="at least 32x32"):
        VAE(4, (31, 64))


@pytest.mark.parametrize("training", [True, False])
def test_an_images_code_does_not_depend_on_the_rest_of_its_batch(training):
    vae = VAE(8, (96, 128)).train(training)
    nn.init.normal_(vae.logvar.weight, std=0.01)
    x = torch.rand(4, 3, 96, 128)
    x[1:] *= torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1, 1)
    with torch.no_grad():
        for together, alone in zip(vae.encode(x), vae.encode(x[:1]), strict=True):
            torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def test_the_code_sees_brightness_and_content():
    vae = VAE(8, (96, 128)).eval()
    with torch.no_grad():
        x = torch.rand(1, 3, 96, 128)
        codes = torch.cat([vae.encode(image)[0] for image in (x, 0.5 * x, x.flip(3), torch.rand_like(x))])
    assert torch.pdist(codes).min() > 1e-3


def test_posteriors_start_with_unit_variance_and_gradients_reach_both_heads():
    vae = VAE(8, (64, 64), channels=(8, 16))
    x = torch.rand(4, 3, 64, 64)
    reconstruction, target, mu, logvar = vae(x)
    assert torch.equal(logvar, torch.zeros_like(logvar))
    loss = (reconstruction - target).square().mean() + 1e-3 * kl_per_dim(mu, logvar).sum(1).mean()
    loss.backward()
    assert [name for name, p in vae.named_parameters() if p.grad is None] == []
    assert vae.mu.weight.grad.abs().sum() > 0 and vae.logvar.weight.grad.abs().sum() > 0


def test_an_extreme_log_variance_stays_finite():
    vae = VAE(8, (64, 64), channels=(8,))
    nn.init.constant_(vae.logvar.bias, 1e4)
    reconstruction, _, mu, logvar = vae(torch.rand(1, 3, 64, 64))
    assert logvar.max() == LOGVAR_MAX
    assert reconstruction.isfinite().all() and kl_per_dim(mu, logvar).isfinite().all()


def test_it_learns_to_reconstruct():
    vae = VAE(16, (64, 64), channels=(16, 32, 64))
    x = torch.rand(8, 3, 1, 1).expand(8, 3, 64, 64).clone()  # eight colours ...
    x[:4, :, :32] = 0.0  # ... half of them under a black half
    optimizer = torch.optim.Adam(vae.parameters(), lr=2e-3)
    for _ in range(60):
        reconstruction, target, mu, logvar = vae(x)
        error = (reconstruction - target).square().mean()
        loss = 0.5 * error.log() + kl_per_dim(mu, logvar).sum(1).mean() / target[0].numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert error / target.var() < 0.1


# --- the release's VAE -----------------------------------------------------------------------------------------------


def test_release_has_the_parameters_of_the_public_code():
    # By hand: 16·(3·128 + 128·256 + 256·512 + 512·1024) + norms 2·1920; heads 2·(4096·32 + 32); Linear
    # 32·16384 + 16384; 16·(1024·512 + 512·256 + 256·128) + norms 2·896; 128·3 + 3.
    assert parameters(ReleaseVAE(32)) == 11016192 + 3840 + 262208 + 540672 + 11010048 + 1792 + 387


def test_release_shapes_scaling_and_size():
    vae = ReleaseVAE(32)
    x = torch.rand(4, 3, 32, 32)
    reconstruction, target, mu, logvar = vae(x)
    assert reconstruction.shape == (4, 3, 32, 32) and mu.shape == logvar.shape == (4, 32)
    torch.testing.assert_close(target, (x - 0.5) / 0.5)
    sizes = []
    for module in vae.encoder:
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[1:])))
    vae.encode(x)
    assert sizes == [(128, 16, 16), (256, 8, 8), (512, 4, 4), (1024, 2, 2)]
    with pytest.raises(UserError, match="32x32 images only, not 64x64"):
        vae(torch.rand(2, 3, 64, 64))


def test_release_gradients_reach_every_parameter():
    vae = ReleaseVAE(8)
    reconstruction, target, mu, logvar = vae(torch.rand(4, 3, 32, 32))
    ((reconstruction - target).square().mean() + kl_per_dim(mu, logvar).sum()).backward()
    assert [name for name, p in vae.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
