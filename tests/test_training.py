"""Fitting: schedules against PyTorch's, accumulation, checkpoints, losses that are not finite."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from tiny import TinyModel, TinyNetwork, TinyScenes, parameters_equal
from torch import nn

from seg_al import Segmentation, Train, UserError
from seg_al.data.views import LabeledView
from seg_al.phase import Phase
from seg_al.run_directory import load_tensors
from seg_al.training import evaluate, fit, make_optimizer, make_schedule

DATA = TinyScenes(size=(32, 32))


def view(count: int = 8) -> LabeledView:
    samples = DATA.samples("train")
    return LabeledView(DATA, samples, samples.target, range(count))


def fitted(
    settings: Train, folder: Path | None = None, network: nn.Module | None = None, **options: object
) -> nn.Module:
    phase = Phase("train", Fabric(accelerator="cpu"), (0, 0), folder, "round 1/1 · train")
    phase.seed_torch("initial weights")
    network = network or TinyModel().build(3)
    return fit(Segmentation(), network, view(), settings, phase, pool_size=40, **options)  # type: ignore[arg-type]


def test_schedules_go_where_they_say() -> None:
    def rates(schedule: str) -> list[float]:
        settings = Train(schedule=schedule, lr=0.1, optimizer="sgd")  # type: ignore[arg-type]
        optimizer = make_optimizer(settings, nn.Linear(1, 1))
        scheduler = make_schedule(settings, optimizer, 40)
        found = []
        for _ in range(40):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    assert rates("constant") == [0.1] * 40
    assert rates("step") == pytest.approx([0.1] * 20 + [0.01] * 10 + [0.001] * 10)
    assert rates("poly") == pytest.approx([0.1 * (1 - step / 40) ** 0.9 for step in range(40)])
    cycle = rates("one_cycle")
    assert cycle[0] == pytest.approx(0.1 / 25) and max(cycle) == pytest.approx(0.1) and cycle[-1] < 1e-4
    assert cycle.index(max(cycle)) in (11, 12)  # 30 % of 40 steps


def test_steps_an_epoch() -> None:
    assert Train(batch_size=8).steps(labeled=20, pool=100) == 3
    assert Train(batch_size=8, epoch_of="pool").steps(labeled=20, pool=100) == 13
    assert Train(batch_size=8).steps(labeled=1, pool=100) == 1


def test_training_lowers_the_loss_and_learns_the_task() -> None:
    network = fitted(Train(epochs=60, batch_size=4, lr=2e-2))
    fabric = Fabric(accelerator="cpu")
    metric = evaluate(Segmentation(), network, DATA, DATA.samples("test"), fabric, 4, 0, "")
    assert metric.summary(DATA.class_names)["mIoU"] > 0.5
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_evaluation_does_not_depend_on_the_batch_size() -> None:
    network, fabric = fitted(Train(epochs=2, batch_size=4)), Fabric(accelerator="cpu")
    results = [
        evaluate(Segmentation(), network, DATA, DATA.samples("test"), fabric, size, 0, "").confusion
        for size in (1, 3, 10)
    ]
    assert results[0].sum() > 0
    # counts of pixels; rounding may tip one in a thousand between two classes
    for result in results[1:]:
        assert (result - results[0]).abs().sum() <= results[0].sum() / 1000


class NoNorm(TinyNetwork):
    """Without BatchNorm and dropout a batch in pieces gives the gradient of the whole."""

    def __init__(self) -> None:
        super().__init__(3)
        self.body[1] = nn.Identity()
        self.head[0] = nn.Identity()


def test_accumulation_gives_the_gradient_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    start = NoNorm().state_dict()
    results = []
    for pieces in (1, 4):
        network = NoNorm()
        network.load_state_dict(start)
        settings = Train(epochs=3, batch_size=8, accumulate=pieces, optimizer="sgd", lr=0.1)
        results.append(fitted(settings, network=network))
    for a, b in zip(results[0].parameters(), results[1].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert not torch.allclose(next(results[0].parameters()), start["body.0.weight"])


class Killed(BaseException):
    pass


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_killed_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer
) -> None:
    monkeypatch.setattr("seg_al.phase.SAVE_EVERY_SECONDS", 0.0)
    settings = Train(epochs=5, batch_size=4, optimizer=optimizer, schedule="poly")
    whole = fitted(settings)
    original, calls = Phase.step, 0

    def step(self: Phase, **values: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:  # in the third epoch of two steps
            raise Killed
        original(self, **values)

    monkeypatch.setattr(Phase, "step", step)
    with pytest.raises(Killed):
        fitted(settings, tmp_path)
    monkeypatch.setattr(Phase, "step", original)
    assert load_tensors(tmp_path / "train.ckpt")["epoch"] == 2
    assert parameters_equal(fitted(settings, tmp_path), whole)


def test_the_best_weights_are_kept_and_survive_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg_al.phase.SAVE_EVERY_SECONDS", 0.0)
    settings = Train(epochs=4, batch_size=4, keep="best")
    scores, seen = [0.1, 0.9, 0.3, 0.2], []

    def validate(network: nn.Module) -> float:
        assert not network.training
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return scores[len(seen) - 1]

    network = fitted(settings, tmp_path, validate=validate)
    assert all(torch.equal(v, seen[1][k]) for k, v in network.state_dict().items())
    again = fitted(settings, tmp_path, validate=validate)  # all four epochs are in the checkpoint
    assert len(seen) == 4 and parameters_equal(again, network)


def test_a_loss_that_is_not_finite_stops_and_names_the_place() -> None:
    class Diverges(TinyNetwork):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Diverges.calls += 1
            return super().forward(x) * (float("nan") if Diverges.calls == 4 else 1.0)

    with pytest.raises(UserError, match=r"round 1/1 · train: loss is not finite \(loss nan\) in epoch 1, batch 1"):
        fitted(Train(epochs=3, batch_size=4), network=Diverges(3))


def test_a_batch_without_labeled_pixels_has_no_loss_and_no_gradient() -> None:
    network = TinyModel().build(3)
    loss = Segmentation().loss(network, torch.rand(2, 3, 8, 8), torch.full((2, 8, 8), 255))
    loss.backward()
    assert loss.item() == 0 and all(p.grad.abs().sum() == 0 for p in network.parameters())


def test_the_loss_is_cross_entropy_over_labeled_pixels() -> None:
    network = TinyModel().build(3).eval()
    images, targets = torch.rand(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    targets[0, :3] = 255
    expected = nn.functional.cross_entropy(network(images), targets, ignore_index=255)
    assert Segmentation().loss(network, images, targets).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("head.1.bias", float("inf"), True),
        ("body.1.running_mean", float("nan"), True),
        ("body.1.running_mean", float("-inf"), False),  # as the buffer of a mask may be
    ],
)
def test_weights_that_the_last_step_spoiled_are_no_result(name: str, value: float, refused: bool) -> None:
    def spoil(network: nn.Module) -> float:
        network.state_dict()[name].fill_(value)
        return 1.0

    said = rf"round 1/1 · train: training ended with {name} not finite; .*lower the learning rate"
    with pytest.raises(UserError, match=said) if refused else nullcontext():
        fitted(Train(epochs=1, batch_size=4), validate=spoil)


def test_sgd_has_nesterov_momentum_or_none() -> None:
    network = TinyModel().build(3)
    for momentum, nesterov in ((0.9, True), (0.0, False)):
        (group,) = make_optimizer(Train(optimizer="sgd", momentum=momentum), network).param_groups
        assert (group["momentum"], group["nesterov"]) == (momentum, nesterov)


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": float("inf")},
        {"accumulate": 0},
        {"clip": 0.0},
        {"clip": -1.0},
        {"weight_decay": -1.0},
        {"momentum": 1.0},
    ],
)
def test_impossible_settings(settings: dict) -> None:
    with pytest.raises(UserError, match=f"Train.{next(iter(settings))} must be"):
        Train(**settings)


def test_a_batch_that_cannot_be_split_is_refused() -> None:
    with pytest.raises(UserError, match="batch_size 4 cannot be split"):
        fitted(Train(epochs=1, batch_size=4, accumulate=3))


@pytest.mark.parametrize("damage", ["cut", "pickle", "other"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "train.ckpt"
    if damage == "cut":
        fitted(Train(epochs=1, batch_size=4), tmp_path)
        file.write_bytes(file.read_bytes()[:500])
    elif damage == "pickle":
        torch.save({"epoch": 1, "network": Path("x")}, file)
    else:
        torch.save({"epoch": 1, "network": {"a": torch.zeros(2)}}, file)
    with pytest.raises(UserError) as error:
        fitted(Train(epochs=2, batch_size=4), tmp_path)
    assert str(file) in str(error.value) and "delete it" in str(error.value)
