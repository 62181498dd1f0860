"""What does not fit together shows before anything is trained or written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import timm
from safetensors.torch import save_file
from test_experiment import results
from tiny import (
    MixedScenes,
    Squares,
    TinyClasses,
    TinyClassifier,
    TinyModel,
    TinyNetwork,
    TinyScenes,
    parameters_equal,
    tiny_experiment,
)
from torch import Tensor, nn

from seg_al import (
    BADGE,
    DRN,
    QBC,
    SMP,
    VAAL,
    VGG,
    ClassBalancedEntropy,
    Classification,
    CoreSet,
    Entropy,
    FrozenFeatures,
    MCDropout,
    ProbCover,
    SuggestiveAnnotation,
    Train,
    TypiClust,
    UserError,
)
from seg_al.data.base import Split
from seg_al.run_directory import load_tensors
from seg_al.strategies.features import FeatureStrategy
from seg_al.strategies.vaal_ablations import DiscriminatorOnly


class Tenth(TinyNetwork):
    """A user's network with a mistake in it."""

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features[:, :10].flatten(1))


class Mistaken(TinyModel):
    def build(self, num_classes: int) -> nn.Module:
        return Tenth(num_classes)


class Altered(TinyScenes):
    """Whose masks of one split are all of a value, or missing."""

    split: str
    value: int | None

    def samples(self, split: Split) -> Squares:
        listed = super().samples(split)
        if split == self.split:
            value = self.value
            mask = None if value is None else np.full((32, 32), value, np.uint8)
            listed.target = lambda index: mask  # type: ignore[method-assign,assignment,return-value]
        return listed


class Pair(TinyNetwork):
    """Trains and predicts, but its features are no map, nor has its head a layer of weights."""

    def forward_features(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return tuple(self.body(x).chunk(2, dim=1))

    def forward_head(self, features: tuple[Tensor, ...]) -> Tensor:  # type: ignore[override]
        return sum(features)[:, :3]  # type: ignore[index]


class Pairs(TinyModel):
    def build(self, num_classes: int) -> nn.Module:
        return Pair(num_classes)


class EighthClass(Entropy):
    """A user's strategy with a mistake in it."""

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        (p,) = predictions
        return p[:, 7]


class Outvoted(QBC):
    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        raise ValueError(f"{len(list(predictions))} members")


ONE = Train(epochs=1, batch_size=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": Train(batch_size=4, accumulate=3)}, "batch_size 4 cannot be split over 1 processes x 3 pieces"),
        ({"strategy": VAAL(), "dataset": TinyScenes(size=None)}, r"give VAAL a size=\(height, width\)"),
        ({"strategy": VAAL(size=(16, 16))}, "16x16"),
        ({"strategy": DiscriminatorOnly(size=(16, 16))}, "16x16"),
        ({"strategy": MCDropout(), "model": DRN(dropout=0.0)}, "MCDropout needs a model with dropout in its head"),
        ({"strategy": EighthClass()}, r"EighthClass cannot choose: index 7 .*\(at .*test_rehearsal\.py:\d+\)"),
        ({"strategy": Outvoted(members=3)}, "Outvoted cannot choose: 3 members"),
        ({"strategy": SuggestiveAnnotation(), "model": Pairs()}, "SuggestiveAnnotation cannot choose: "),
        ({"strategy": CoreSet(), "model": Pairs()}, "CoreSet cannot choose: "),
        ({"strategy": BADGE(), "model": Pairs()}, "BADGE needs a model whose head has a Linear or Conv2d layer"),
        ({"dataset": MixedScenes(size=None)}, r"images of \d+x32 and \d+x32 cannot be in one batch; give the data set"),
        ({"task": Classification()}, r"task is Classification, but .* labels are masks; set task=Segmentation\(\)"),
        (
            {"dataset": TinyClasses(size=(32, 32)), "model": TinyClassifier()},
            r"task is Segmentation, but the data set's labels are classes of images; set task=Classification\(\)",
        ),
        (
            {"model": VGG()},
            "VGG and Segmentation cannot be trained on batches of 2 images of 32x32: ",
        ),
        (
            {"model": SMP(arch="deeplabv3plus", encoder="resnet18", weights=None), "train": ONE},
            "SMP and Segmentation cannot be trained on batches of 1 images of 32x32: Expected more than 1 value",
        ),
        ({"model": Mistaken()}, r"Mistaken and Segmentation cannot .*\(at .*test_rehearsal\.py:\d+\)"),
        (
            {"dataset": Altered(size=(32, 32), split="train", value=3)},
            "40 labels .*mask holds 3.*classes are 0 to 2",
        ),
        ({"dataset": Altered(size=(32, 32), split="test", value=None)}, "10 of 10 images of split test have no label"),
        (
            {"dataset": Altered(size=(32, 32), split="val", value=255), "train": Train(epochs=1, keep="best")},
            "train.keep is 'best', but no image of split val shows a class",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path, changes: dict, message: str) -> None:
    experiment = tiny_experiment(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as refused:
        experiment.run()
    assert "\n" not in str(refused.value)
    assert not experiment.directory.exists()


@pytest.mark.parametrize("strategy", [CoreSet, TypiClust, ProbCover])
def test_an_encoder_that_does_not_take_the_images_is_refused_before_anything_is_written(
    tmp_path: Path, strategy: type[FeatureStrategy]
) -> None:
    save_file(timm.create_model("test_vit3").state_dict(), tmp_path / "vit.safetensors")
    features = FrozenFeatures(encoder="test_vit3", weights=tmp_path / "vit.safetensors", size=(30, 32))
    experiment = tiny_experiment(tmp_path, strategy=strategy(features=features))
    with pytest.raises(UserError, match=r"does not take images of 30x32 .*set FrozenFeatures\.size"):
        experiment.run()
    assert not experiment.directory.exists()


def test_a_run_without_a_query_needs_nothing_of_its_strategy(tmp_path: Path) -> None:
    tiny_experiment(tmp_path, strategy=VAAL(size=(16, 16)), rounds=1).run()


@pytest.mark.parametrize(
    "strategy",
    [
        MCDropout(passes=2),
        ClassBalancedEntropy(),
        QBC(members=2),
        BADGE(),
        CoreSet(),
        VAAL(latent=4, epochs=1, batch_size=8),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_a_rehearsal_changes_nothing(tmp_path: Path, strategy: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = tiny_experiment(tmp_path, name="with", strategy=strategy, rounds=2).run()
    monkeypatch.setattr("seg_al.experiment.rehearse", lambda *_: None)
    without = tiny_experiment(tmp_path, name="without", strategy=strategy, rounds=2).run()
    assert results(with_it) == results(without)
    weights = [load_tensors(run / "rounds/01/model.pt") for run in (with_it, without)]
    networks = [TinyModel().build(3) for _ in weights]
    for network, state in zip(networks, weights, strict=True):
        network.load_state_dict(state)
    assert parameters_equal(*networks)
