"""VAAL's ablations: what is trained and what is not, scores against their definitions, resume, usefulness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rounds import make_round
from scipy.linalg import sqrtm
from sklearn.metrics import roc_auc_score
from tiny import Squares, TinyScenes, parameters_equal
from torch import Tensor, nn

from seg_al import VAAL, UserError
from seg_al.models.discriminator import PixelDiscriminator
from seg_al.models.vae import ReleaseVAE
from seg_al.phase import Phase
from seg_al.round import Round
from seg_al.strategies.adversarial import TwoPools
from seg_al.strategies.vaal_ablations import DiscriminatorOnly, FrozenVAE, WassersteinVAE, moments, wasserstein
from seg_al.strategies.vaal_diagnostics import collapse

QUICK: dict = {"epochs": 1, "batch_size": 8}
ONE_STEP: dict = {**QUICK, "epoch_of": "labeled"}  # for the release's VAE, which is large
ABLATIONS: list[TwoPools] = [
    DiscriminatorOnly(**QUICK),
    FrozenVAE(**QUICK, latent=4),
    FrozenVAE(**QUICK, latent=4, pretrain_epochs=1),
    WassersteinVAE(**QUICK, latent=4),
]

every_ablation = pytest.mark.parametrize("strategy", ABLATIONS, ids=["pixels", "frozen", "pretrained", "wasserstein"])


def changed(strategy: TwoPools, **changes: Any) -> TwoPools:
    settings = {name: getattr(strategy, name) for name in strategy.__dataclass_fields__}  # type: ignore[attr-defined]
    return type(strategy)(**{**settings, **changes})


def initial_vae(strategy: FrozenVAE | WassersteinVAE, round: Round, size: tuple[int, int] = (32, 32)) -> nn.Module:
    strategy.seeded_phase(round)
    return strategy.new_vae(strategy.latent, size)


class Coloured(Squares):
    """Squares in one colour: samples below 20 are red, the others blue."""

    def image(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        picture = np.zeros((32, 32, 3), np.uint8)
        y, x = rng.integers(0, 16, 2)
        picture[..., 0 if index < 20 else 2] = rng.integers(120, 200)
        picture[y : y + 16, x : x + 16] += 50
        return picture


class TwoColours(TinyScenes):
    def samples(self, split):  # type: ignore[no-untyped-def]
        return Coloured(split, self.train, 32)


# --- the distance ----------------------------------------------------------------------------------------------------


def test_the_distance_is_the_2_wasserstein_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)
    mu, m = rng.normal(size=(6, 5)), rng.normal(size=5)
    sigma, s = rng.uniform(0.1, 3, (6, 5)), rng.uniform(0.1, 3, 5)
    distances = wasserstein(*(torch.tensor(part) for part in (mu, sigma, m, s)))
    for row in range(6):  # of any covariances: ||m1 - m2||^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)
        a, b = np.diag(sigma[row] ** 2), np.diag(s**2)
        root = sqrtm(a)
        squared = np.sum((mu[row] - m) ** 2) + np.trace(a + b - 2 * sqrtm(root @ b @ root)).real
        assert distances[row].item() == pytest.approx(np.sqrt(squared), rel=1e-9)


def test_the_labeled_sets_gaussian_has_the_moments_of_the_mixture() -> None:
    m, s = moments(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]]))
    assert m.item() == 1 and s.item() == pytest.approx(np.sqrt(6))  # variance: mean of 1 and 9, plus that of 0 and 2
    rng = np.random.default_rng(1)
    mu, sigma = rng.normal(size=(7, 3)), rng.uniform(0.2, 2, (7, 3))
    m, s = moments(torch.tensor(mu), torch.tensor(sigma))
    second = (mu**2 + sigma**2).mean(0)  # E[z^2]
    assert m.numpy() == pytest.approx(mu.mean(0)) and s.numpy() == pytest.approx(np.sqrt(second - mu.mean(0) ** 2))
    one = moments(torch.tensor(mu[:1]), torch.tensor(sigma[:1]))
    assert wasserstein(torch.tensor(mu[:1]), torch.tensor(sigma[:1]), *one).item() == 0


# --- what is trained, and what is not --------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["general", "auto"])
def test_the_frozen_vae_stays_as_initialised_while_d_learns(architecture: str) -> None:
    strategy = FrozenVAE(**ONE_STEP, latent=4, architecture=architecture)  # auto: with BatchNorm's statistics
    round = make_round()
    vae, discriminator, _ = strategy.train(round, (32, 32))
    assert parameters_equal(vae, initial_vae(strategy, round))
    strategy.seeded_phase(round)
    assert not parameters_equal(discriminator, strategy.build((32, 32))[1])
    assert not vae.training and not any(p.requires_grad for p in vae.parameters())


def test_a_pretrained_vae_learns_before_d_and_not_with_it() -> None:
    strategy, round = FrozenVAE(**QUICK, latent=4, pretrain_epochs=1), make_round()
    (short, d, _), (long, longer_d, _) = (changed(strategy, epochs=n).train(round, (32, 32)) for n in (1, 2))  # type: ignore[attr-defined]
    assert parameters_equal(short, long) and not parameters_equal(d, longer_d)
    untrained = initial_vae(strategy, round)
    assert not parameters_equal(short.encoder, untrained.encoder)  # type: ignore[arg-type]
    assert not parameters_equal(short.decoder, untrained.decoder)  # type: ignore[arg-type]


def test_without_the_adversary_vaal_trains_the_same_vae() -> None:
    settings = {**QUICK, "latent": 4}
    vae, _, _ = VAAL(**settings, lambda_adversarial=0.0).train(make_round(), (32, 32))
    fooling, _, _ = VAAL(**settings).train(make_round(), (32, 32))
    alone = WassersteinVAE(**settings).train(make_round(), (32, 32))
    assert parameters_equal(alone, vae) and not parameters_equal(alone, fooling)


def test_d_on_pixels_has_no_vae_and_learns_to_its_first_layer() -> None:
    strategy, round = DiscriminatorOnly(**QUICK), make_round()
    trained = strategy.train(round, (32, 32))
    strategy.seeded_phase(round)
    fresh = PixelDiscriminator(strategy.new_vae(1, (32, 32)))
    assert isinstance(trained, PixelDiscriminator) and not trained.training
    before, after = fresh.state_dict(), trained.state_dict()
    assert before.keys() == after.keys() and not any(torch.equal(before[k], after[k]) for k in before)


# --- scores ----------------------------------------------------------------------------------------------------------


def trained_by(monkeypatch: pytest.MonkeyPatch, kind: type) -> list:
    """Return a list that will hold what `kind.train` returns."""
    made: list = []
    train = kind.train

    def spy(self: Any, *args: object) -> object:
        made.append(train(self, *args))
        return made[-1]

    monkeypatch.setattr(kind, "train", spy)
    return made


def pixels(view: Any) -> Tensor:
    return torch.stack([view[i] for i in range(len(view))]).float() / 255


def test_scores_of_d_on_pixels_are_one_minus_d_in_eval_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    made, round = trained_by(monkeypatch, DiscriminatorOnly), make_round()
    scores = DiscriminatorOnly.paper(**ONE_STEP).score(round)  # BatchNorm in it: train mode would show
    (discriminator,) = made
    assert any(isinstance(m, nn.BatchNorm2d) for m in discriminator.modules())
    expected = 1 - torch.sigmoid(discriminator.eval()(pixels(round.unlabeled)))
    assert torch.allclose(scores.float(), expected, atol=1e-6) and scores.std() > 1e-3


def test_scores_of_d_on_a_frozen_vae_are_one_minus_d_of_mu(monkeypatch: pytest.MonkeyPatch) -> None:
    made, round = trained_by(monkeypatch, FrozenVAE), make_round()
    scores = FrozenVAE.paper(**ONE_STEP, latent=4).score(round)
    ((vae, discriminator, _),) = made
    assert isinstance(vae, ReleaseVAE)
    expected = 1 - torch.sigmoid(discriminator(vae.eval().encode(pixels(round.unlabeled))[0]))
    assert torch.allclose(scores.float(), expected, atol=1e-6) and scores.std() > 1e-3


def test_scores_without_d_are_distances_from_the_labeled_set(monkeypatch: pytest.MonkeyPatch) -> None:
    made, round = trained_by(monkeypatch, WassersteinVAE), make_round()
    scores = WassersteinVAE.paper(**ONE_STEP, latent=4).score(round)
    (vae,) = made
    assert isinstance(vae, ReleaseVAE)
    (mu, sd), (labeled_mu, labeled_sd) = (
        (m.numpy(), np.exp(0.5 * v.numpy()))
        for m, v in (vae.eval().encode(pixels(view)) for view in (round.unlabeled, round.labeled))
    )
    m, s = labeled_mu.mean(0), np.sqrt((labeled_mu**2 + labeled_sd**2).mean(0) - labeled_mu.mean(0) ** 2)
    expected = np.sqrt(((mu - m) ** 2).sum(1) + ((sd - s) ** 2).sum(1))
    assert scores.numpy() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "strategy",
    [
        DiscriminatorOnly(epochs=4, batch_size=8),
        FrozenVAE(epochs=4, batch_size=8, latent=8),
        FrozenVAE(epochs=4, batch_size=8, latent=8, pretrain_epochs=2),
        WassersteinVAE(epochs=6, batch_size=8, latent=8),
    ],
    ids=["pixels", "frozen", "pretrained", "wasserstein"],
)
def test_what_the_labeled_images_lack_is_asked_for(strategy: TwoPools) -> None:
    round = make_round(list(range(10)), list(range(10, 40)), TwoColours(size=(32, 32)))  # labeled: red alone
    query = strategy.select(round, 30)
    blue = round.unlabeled.indices[query.positions] >= 20
    assert roc_auc_score(blue, query.scores) > 0.9 and blue[:10].all()
    assert round.diagnostics["vaal"]["auc"] > 0.7  # of two thirds of the unlabeled images it is 1


# --- resuming, diagnostics, settings ---------------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "strategy, kills",  # steps after which it is killed; an epoch has five
    [
        (DiscriminatorOnly(epochs=2, batch_size=8), {7: "vaal.ckpt"}),
        (
            FrozenVAE(epochs=2, batch_size=8, latent=4, pretrain_epochs=2),
            {7: "vaal_pretrain.ckpt", 5 + 7: "vaal.ckpt"},
        ),
        (WassersteinVAE(epochs=2, batch_size=8, latent=4), {7: "vaal.ckpt"}),
    ],
    ids=["pixels", "pretrained", "wasserstein"],
)
def test_a_killed_training_goes_on_to_the_same_scores(
    strategy: TwoPools, kills: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_al.phase.SAVE_EVERY_SECONDS", 0.0)
    whole = strategy.select(make_round(), 6)
    original, left = Phase.step, 0

    def step(self: Phase, **values: Tensor) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        original(self, **values)

    with monkeypatch.context() as patch:
        patch.setattr(Phase, "step", step)
        for steps, file in kills.items():
            left = steps
            assert not (tmp_path / file).exists()
            with pytest.raises(Killed):
                strategy.select(make_round(folder=tmp_path), 6)
            assert (tmp_path / file).exists()
    again = strategy.select(make_round(folder=tmp_path), 6)
    assert again.positions.tolist() == whole.positions.tolist() and again.scores.tolist() == whole.scores.tolist()


@every_ablation
def test_diagnostics_are_those_that_make_sense(strategy: TwoPools) -> None:
    round = make_round()
    scores = strategy.score(round).double().numpy()
    report = round.diagnostics["vaal"]
    assert report["score_std"] == pytest.approx(scores.std(), rel=1e-6) and report["score_distinct"] == 32
    unseen = ~strategy.seen(round).numpy()
    assert unseen.sum() == 1  # 5 % of 32
    # a high score speaks for unlabeled: D's logit and the distance's negative rank the other way round
    assert report["auc_memorised"] == pytest.approx(roc_auc_score(unseen, -scores))
    assert ("discriminator_loss" in report) == (not isinstance(strategy, WassersteinVAE))
    assert ("active_units" in report) == (not isinstance(strategy, DiscriminatorOnly))
    decodes = isinstance(strategy, WassersteinVAE) or getattr(strategy, "pretrain_epochs", 0) > 0
    assert ("mse_over_variance" in report) == ("vaal/reconstructions" in round.pictures) == decodes
    assert round.seconds["acquisition"] > 0 and round.seconds["score"] > 0


def test_a_collapse_is_said_by_name() -> None:
    assert collapse({"score_std": 0.0}, "DiscriminatorOnly")[0].startswith("DiscriminatorOnly's scores hardly differ")
    assert collapse({"active_units": 0, "latent": 4}, "FrozenVAE") == [
        "FrozenVAE's VAE has collapsed (0 of 4 latent units active)"
    ]
    with pytest.warns(UserWarning, match="DiscriminatorOnly's scores hardly differ.*close to a random one"):
        DiscriminatorOnly(**QUICK).score(make_round(dataset=Black(size=(32, 32))))


class Black(TinyScenes):
    def samples(self, split):  # type: ignore[no-untyped-def]
        listed = super().samples(split)
        listed.image = lambda index: np.zeros((32, 32, 3), np.uint8)  # type: ignore[method-assign]
        return listed


def test_the_papers_settings_are_those_of_table_3() -> None:
    frozen, wasserstein_vae, pixel = FrozenVAE.paper(), WassersteinVAE.paper(), DiscriminatorOnly.paper()
    for preset in (frozen, wasserstein_vae, pixel):
        assert (preset.batch_size, preset.epochs, preset.holdout) == (8, 100, 0)
    for preset in (frozen, wasserstein_vae):
        assert (preset.latent, preset.lr_vae, preset.objective, preset.beta) == (128, 1e-3, "elbo", 1)
    assert frozen.lr_discriminator == pixel.lr_discriminator == 1e-3
    assert frozen.discriminator_layers == 5 and frozen.pretrain_epochs == 0
    assert WassersteinVAE.paper(latent=64, epochs=50).latent == 64


def test_a_setting_that_would_do_nothing_is_not_there() -> None:
    absent = {
        DiscriminatorOnly: ("latent", "objective", "lr_vae", "lambda_adversarial", "vae_steps"),
        FrozenVAE: ("lambda_transductive", "lambda_adversarial", "vae_steps"),
        WassersteinVAE: ("lr_discriminator", "discriminator_layers", "lambda_adversarial", "vae_steps"),
    }
    for kind, names in absent.items():
        for name in names:
            with pytest.raises(UserError, match=f"{kind.__name__} has no setting '{name}'"):
                kind(**{name: 1})


@pytest.mark.parametrize(
    "kind, settings",
    [
        (DiscriminatorOnly, {"epochs": 0}),
        (DiscriminatorOnly, {"holdout": 1.0}),
        (FrozenVAE, {"pretrain_epochs": -1}),
        (FrozenVAE, {"discriminator_layers": 0}),
        (WassersteinVAE, {"latent": 0}),
    ],
)
def test_impossible_settings(kind: type[TwoPools], settings: dict) -> None:
    with pytest.raises(UserError, match=f"{kind.__name__}.{next(iter(settings))}"):
        kind(**settings)


@every_ablation
def test_images_of_differing_sizes_need_a_size(strategy: TwoPools) -> None:
    with pytest.raises(UserError, match=rf"give {type(strategy).__name__} a size=\(height, width\)"):
        strategy.score(make_round(dataset=TinyScenes(size=None)))
