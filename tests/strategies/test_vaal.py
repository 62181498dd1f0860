"""VAAL: losses against closed forms, gradients, scores, presets, diagnostics, resume."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rounds import make_round
from sklearn.metrics import roc_auc_score
from tiny import TinyScenes
from torch import Tensor, nn

from seg_al import VAAL, UserError
from seg_al.models.discriminator import Discriminator
from seg_al.models.vae import VAE, ReleaseVAE
from seg_al.phase import Phase
from seg_al.strategies.vaal import adversarial_loss, discriminator_loss, transductive_loss
from seg_al.strategies.vaal_diagnostics import auc, collapse, diagnose

SMALL = {"latent": 4, "epochs": 2, "batch_size": 4, "size": (32, 32)}


def batch(half: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    shape = (2 * half, 3, 4, 5)
    return torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1, torch.randn(2 * half, 6), torch.randn(2 * half, 6)


def kl_by_torch(mu: Tensor, logvar: Tensor) -> Tensor:
    posterior = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    return torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1)


def test_adversarial_and_discriminator_losses_are_equations_2_and_3() -> None:
    logits = torch.tensor([0.3, -1.2, 2.0, 0.7])  # two labeled, two unlabeled
    p = torch.sigmoid(logits).double().numpy()
    assert adversarial_loss(logits).item() == pytest.approx(-np.log(p[:2]).mean() - np.log(p[2:]).mean(), rel=1e-6)
    assert discriminator_loss(logits).item() == pytest.approx(
        -np.log(p[:2]).mean() - np.log(1 - p[2:]).mean(), rel=1e-6
    )
    assert discriminator_loss(torch.zeros(8)).item() == pytest.approx(2 * math.log(2))


def test_the_elbo_objective_is_equation_1_negated_of_each_pool_added() -> None:
    x_hat, x, mu, logvar = batch()
    # log N(x | x_hat, 1) without its constant, minus KL: an ELBO to be maximised
    log_likelihood = torch.distributions.Normal(x_hat, 1.0).log_prob(x).flatten(1).sum(1)
    log_likelihood = log_likelihood + 0.5 * math.log(2 * math.pi) * x[0].numel()
    elbo = log_likelihood - 2.0 * kl_by_torch(mu, logvar)
    expected = -elbo[:3].mean() - elbo[3:].mean()
    assert transductive_loss("elbo", 2.0, x_hat, x, mu, logvar, 3).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_sigma_objective_is_the_elbo_of_the_best_variance_per_value() -> None:
    x_hat, x, mu, logvar = batch()
    values = x[0].numel()
    sigma = (x - x_hat).square().mean().sqrt()
    nll = -torch.distributions.Normal(x_hat, sigma).log_prob(x).mean() - 0.5 * math.log(2 * math.pi) - 0.5
    expected = nll + 3.0 * kl_by_torch(mu, logvar).mean() / values
    assert transductive_loss("sigma", 3.0, x_hat, x, mu, logvar, 3).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_release_objective_is_mean_error_plus_kl_summed_over_the_batch() -> None:
    x_hat, x, mu, logvar = batch()
    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp())
    expected = sum(F.mse_loss(x_hat[part], x[part]) + kl[part].sum() for part in (slice(0, 3), slice(3, 6)))
    assert transductive_loss("release", 1.0, x_hat, x, mu, logvar, 3).item() == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("objective", ["sigma", "elbo", "release"])
def test_every_objective_falls_with_a_better_reconstruction_and_a_smaller_kl(objective: str) -> None:
    x_hat, x, mu, logvar = batch()
    worse = transductive_loss(objective, 1.0, x_hat, x, mu, logvar, 3)
    assert transductive_loss(objective, 1.0, x + 0.5 * (x_hat - x), x, mu, logvar, 3) < worse
    assert transductive_loss(objective, 1.0, x_hat, x, mu * 0.5, logvar * 0.5, 3) < worse


def gradients(network: nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in network.parameters() if p.grad is not None)


def test_gradients_stay_on_their_side() -> None:
    torch.manual_seed(0)
    strategy, vae, discriminator = VAAL(**SMALL), VAE(4, (32, 32)), Discriminator(4)
    images = torch.rand(6, 3, 32, 32)
    strategy.discriminator_loss(vae, discriminator, images).backward()
    assert gradients(vae) == 0 and gradients(discriminator) > 0
    discriminator.zero_grad()
    transductive, adversarial = strategy.vae_losses(vae, discriminator, images)
    adversarial.backward(retain_graph=True)
    assert gradients(discriminator) == 0 and gradients(vae.mu) > 0  # it reaches the encoder through D
    assert gradients(vae.decoder) == 0  # and only the encoder's mean: D never sees a sampled z
    transductive.backward()
    assert gradients(discriminator) == 0 and gradients(vae.decoder) > 0
    assert all(p.requires_grad for p in discriminator.parameters())


def test_scores_are_one_minus_d_of_mu_of_networks_in_eval_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list = []
    train = VAAL.train

    def spy(self: VAAL, *args: object) -> object:
        made.append(train(self, *args))
        return made[-1]

    monkeypatch.setattr(VAAL, "train", spy)
    round = make_round()
    scores = VAAL.release(**{**SMALL, "epochs": 1, "batch_size": 20}).score(
        round
    )  # BatchNorm and D in it: train mode would show
    vae, discriminator, _ = made[0]
    assert isinstance(vae, ReleaseVAE) and not vae.training and not discriminator.training
    images = torch.stack([round.unlabeled[i] for i in range(len(round.unlabeled))]).float() / 255
    expected = 1 - torch.sigmoid(discriminator(vae.encode(images)[0]))
    assert torch.allclose(scores.float(), expected, atol=1e-6)
    assert 0 <= scores.min() and scores.max() <= 1


def test_the_query_is_what_d_finds_least_like_labeled(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.linspace(-2, 2, 32)[torch.randperm(32, generator=torch.Generator().manual_seed(1))]
    rows = torch.cat([logits[:, None], torch.zeros(32, 8)], 1)
    monkeypatch.setattr(VAAL, "train", lambda *_: (VAE(4, (32, 32)), nn.Identity(), torch.ones(32).bool()))
    monkeypatch.setattr(VAAL, "_log", lambda *_: None)
    round = make_round()
    monkeypatch.setattr(round, "map", lambda *_, **__: rows)
    positions = VAAL(**SMALL).select(round, 5).positions
    assert set(positions) == set(torch.argsort(logits)[:5].tolist())


def test_scores_do_not_depend_on_the_order_or_the_batching_of_the_pool() -> None:
    torch.manual_seed(3)
    vae, discriminator = VAE(4, (32, 32)).eval(), Discriminator(4).eval()
    strategy = VAAL(**SMALL)
    rows = {}
    order = [int(i) for i in np.random.default_rng(0).permutation(np.arange(8, 40))]
    for name, unlabeled, size in (("a", list(range(8, 40)), 4), ("b", order, 7)):
        round = make_round(unlabeled=unlabeled, batch_size=size)
        scores = strategy.scores(strategy.posteriors(round, vae, discriminator, round.unlabeled))
        rows[name] = dict(zip(round.unlabeled.ids, scores.tolist(), strict=True))
    assert rows["a"].keys() == rows["b"].keys()
    assert all(rows["a"][key] == pytest.approx(rows["b"][key], abs=1e-5) for key in rows["a"])


def test_d_learns_to_tell_pools_that_differ_and_asks_for_the_strangers() -> None:
    class TwoKinds(TinyScenes):
        def samples(self, split):  # type: ignore[no-untyped-def]
            listed = super().samples(split)
            draw = listed._draw
            # samples 20 and above are dark
            listed._draw = lambda i: (draw(i)[0] // (4 if i >= 20 else 1), draw(i)[1])  # type: ignore[method-assign]
            return listed

    round = make_round(labeled=list(range(12)), unlabeled=list(range(12, 40)), dataset=TwoKinds(size=(32, 32)))
    # without an adversary: on 40 images it needs few steps to hide from D what it sees
    strategy = VAAL(latent=4, epochs=40, batch_size=8, lambda_adversarial=0.0)
    selection = strategy.select(round, 10)
    dark = [int(round.unlabeled.indices[p]) >= 20 for p in selection.positions]
    assert np.mean(dark) > 0.9  # chance: 20 of 28
    report = round.diagnostics["vaal"]
    assert report["auc"] > 0.7 and report["active_units"] >= 2
    assert report["mse_over_variance"] < 0.9
    assert round.seconds["acquisition"] > 0 and round.seconds["score"] > 0


def test_the_default_vae_stays_alive_where_the_release_collapses() -> None:
    alive, dead = make_round(), make_round()
    VAAL(latent=8, epochs=12, batch_size=8).score(alive)
    with pytest.warns(UserWarning, match="collapsed"):  # in the general network: the objective is to blame
        VAAL.release(latent=8, epochs=12, batch_size=8, architecture="general").score(dead)
    assert alive.diagnostics["vaal"]["active_units"] > 4
    assert dead.diagnostics["vaal"]["active_units"] == 0


def test_presets() -> None:
    assert VAAL.default() == VAAL()
    paper, release = VAAL.paper(), VAAL.release()
    assert (paper.latent, paper.lambda_adversarial, paper.lr_vae, paper.lr_discriminator) == (128, 25, 1e-3, 1e-3)
    assert (paper.batch_size, paper.epochs, paper.discriminator_layers, paper.objective) == (8, 100, 5, "elbo")
    assert (release.latent, release.lr_vae, release.vae_steps, release.discriminator_layers) == (32, 5e-4, 2, 3)
    assert VAAL.paper(latent=64).latent == 64
    for strategy, size, kind in ((release, (32, 32), ReleaseVAE), (release, (48, 32), VAE), (VAAL(), (32, 32), VAE)):
        assert type(strategy.build(size)[0]) is kind
    layers = [sum(isinstance(m, nn.Linear) for m in s.build((32, 32))[1].modules()) for s in (paper, release)]
    assert layers == [5, 3]


@pytest.mark.parametrize(
    "settings",
    [{"latent": 0}, {"holdout": 1.0}, {"vae_steps": 0}, {"epochs": 0}, {"lr_vae": -1e-3}, {"lr_discriminator": 0.0}],
)
def test_impossible_settings(settings: dict) -> None:
    with pytest.raises(UserError, match=f"VAAL.{next(iter(settings))}"):
        VAAL(**settings)


def test_images_of_differing_sizes_need_a_size() -> None:
    with pytest.raises(UserError, match=r"give VAAL a size=\(height, width\)"):
        VAAL(latent=4).score(make_round(dataset=TinyScenes(size=None)))


def test_the_holdout_is_not_trained_on_but_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[str, set[int]] = {"labeled": set(), "unlabeled": set()}
    batches = Phase.batches

    def spy(self: Phase, view, name: str, *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
        read[name] = set(view.indices.tolist())
        return batches(self, view, name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Phase, "batches", spy)
    round = make_round()
    scores = VAAL(**SMALL, holdout=0.25).score(round)
    assert len(read["unlabeled"]) == 24 and read["labeled"] == set(range(8)) and len(scores) == 32
    assert round.diagnostics["vaal"]["auc_memorised"] is not None


class Killed(BaseException):
    pass


def test_a_killed_training_goes_on_to_the_same_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg_al.phase.SAVE_EVERY_SECONDS", 0.0)
    strategy = VAAL(**{**SMALL, "epochs": 3})
    whole = strategy.select(make_round(), 6)
    original, calls = Phase.step, 0

    def step(self: Phase, **values: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 25:  # in the third epoch of ten steps
            raise Killed
        original(self, **values)

    monkeypatch.setattr(Phase, "step", step)
    with pytest.raises(Killed):
        strategy.select(make_round(folder=tmp_path), 6)
    monkeypatch.setattr(Phase, "step", original)
    assert (tmp_path / "vaal.ckpt").exists()
    again = strategy.select(make_round(folder=tmp_path), 6)
    assert list(again.positions) == list(whole.positions) and list(again.scores) == list(whole.scores)


def test_diagnostics_against_hand_made_rows() -> None:
    rng = np.random.default_rng(0)
    mu = np.zeros((50, 3))
    mu[:, 0], mu[:, 1] = rng.normal(size=50), 0.05 * rng.normal(size=50)  # variances 1 and 0.0025
    kl = np.tile([2.0, 0.5, 0.0], (50, 1))
    logits = rng.normal(size=50)
    rows = torch.tensor(np.column_stack([logits, mu, kl]))
    labeled = rows[:20] + 1
    seen = torch.arange(50) < 40
    report = diagnose(rows, labeled, seen)
    assert report["active_units"] == 1 and report["latent"] == 3
    assert report["kl"] == pytest.approx(2.5) and report["kl_per_dim"] == pytest.approx([2.0, 0.5, 0.0])
    truth = [1] * 20 + [0] * 50
    assert report["auc"] == pytest.approx(roc_auc_score(truth, np.r_[labeled[:, 0], logits]))
    assert report["auc_memorised"] == pytest.approx(roc_auc_score([1] * 10 + [0] * 40, np.r_[logits[40:], logits[:40]]))
    assert report["score_std"] == pytest.approx((1 / (1 + np.exp(-logits))).std())
    assert report["score_distinct"] == 50 and collapse(report) == []
    assert auc(np.array([]), logits) is None


def test_a_collapse_is_said() -> None:
    rows = torch.zeros(10, 9)
    found = collapse(diagnose(rows, rows[:3], torch.ones(10).bool()))
    assert len(found) == 2 and "0 of 4 latent units active" in found[0] and "hardly differ" in found[1]
