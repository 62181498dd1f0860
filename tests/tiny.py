"""A data set and a model small enough to run whole experiments in tests; also an example of a user's own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from seg_al import Experiment, Random, Segmentation, Train
from seg_al.data.base import SegmentationDataset, Split
from seg_al.data.class_files import ArraySamples
from seg_al.data.classification import ClassificationDataset
from seg_al.machine import Machine
from seg_al.models.base import ClassificationNetwork, Model, SegmentationNetwork


class Squares:
    """Samples of one split: coloured squares on noise; 0 = background, 1 = red, 2 = green."""

    def __init__(self, split: str, count: int, side: int) -> None:
        self.ids = [f"{split}/{index:03d}" for index in range(count)]
        self.offset, self.side = {"train": 0, "val": 10_000, "test": 20_000}[split], side

    def __len__(self) -> int:
        return len(self.ids)

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.offset + index)
        image = rng.integers(0, 100, (self.side, self.side, 3)).astype(np.uint8)
        target = np.zeros((self.side, self.side), np.uint8)
        for class_id in (1, 2):
            y, x = rng.integers(0, self.side // 2, 2)
            image[y : y + self.side // 2, x : x + self.side // 2, class_id - 1] = 220
            target[y : y + self.side // 2, x : x + self.side // 2] = class_id
        target[:2] = 255
        return image, target

    def image(self, index: int) -> np.ndarray:
        return self._draw(index)[0]

    def target(self, index: int) -> np.ndarray:
        return self._draw(index)[1]


class TinyScenes(SegmentationDataset):
    train: int = 40
    side: int = 32

    @property
    def class_names(self) -> tuple[str, ...]:
        return ("background", "red", "green")

    @property
    def palette(self) -> np.ndarray:
        return np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)

    def samples(self, split: Split) -> Squares:
        return Squares(split, {"train": self.train, "val": 6, "test": 10}[split], self.side)


class MixedScenes(TinyScenes):
    """Images of three sizes."""

    def samples(self, split: Split) -> Squares:
        listed = super().samples(split)
        draw = listed._draw

        def cut(index: int) -> tuple[np.ndarray, np.ndarray]:
            image, target = draw(index)
            return image[: 32 - 4 * (index % 3)], target[: 32 - 4 * (index % 3)]

        listed._draw = cut  # type: ignore[method-assign]
        return listed


class TinyClasses(ClassificationDataset):
    """Images of noise whose class is their number modulo 3."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return ("zero", "one", "two")

    def samples(self, split: Split) -> ArraySamples:
        count = {"train": 40, "val": 6, "test": 10}[split]
        pixels = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        ids = tuple(f"{split}/{index:03d}" for index in range(count))
        return ArraySamples(ids, pixels, np.arange(count) % 3, np.arange(count))


class TinyNetwork(SegmentationNetwork):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(8, classes, 1))

    def forward_features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features)


class TinyModel(Model):
    def build(self, num_classes: int) -> nn.Module:
        return TinyNetwork(num_classes)


class TinyClassifierNetwork(ClassificationNetwork):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, classes))

    def forward_features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features)


class TinyClassifier(Model):
    def build(self, num_classes: int) -> nn.Module:
        return TinyClassifierNetwork(num_classes)


def tiny_experiment(output: object, **changes: object) -> Experiment:
    """Return an experiment of three rounds that runs in about a second."""
    settings: dict = {
        "name": "tiny",
        "dataset": TinyScenes(size=(32, 32)),
        "model": TinyModel(),
        "strategy": Random(),
        "task": Segmentation(),
        "initial": 4,
        "budget": 3,
        "rounds": 3,
        "train": Train(epochs=2, batch_size=4, lr=1e-2),
        "machine": Machine(output=str(output), accelerator="cpu", workers=0),
    }
    return Experiment(**{**settings, **changes})


def parameters_equal(a: nn.Module, b: nn.Module) -> bool:
    """Tell whether two networks have the same weights and buffers, bit for bit."""
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)
