"""Images in a folder, some with masks: a pool of a person's own for tests."""

from __future__ import annotations

import textwrap
from pathlib import Path

import cv2
import numpy as np
from annotators import finished
from tiny import TinyModel

from seg_al import Entropy, FolderSegmentation, OwnPool, Random, Train
from seg_al.annotation.base import AnnotationFormat
from seg_al.machine import Machine

CLASSES = ("background", "red", "green")
PALETTE = np.array([[1, 2, 3], [255, 0, 0], [0, 255, 0]], np.uint8)

_CONFIG = """
    from seg_al import Entropy, FolderSegmentation, OwnPool, Random, Train
    from tiny import TinyModel
    config = OwnPool(
        dataset=FolderSegmentation(root="data", classes=("background", "red", "green"), size=(24, 32)),
        model=TinyModel(), strategy=Entropy(), budget=3, cold_start=Random(), train=Train(epochs=1, batch_size=4),
    )
"""


def draw(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of coloured squares on noise, and its mask with void at the top."""
    rng = np.random.default_rng(index)
    image, mask = rng.integers(0, 100, (24, 30, 3)).astype(np.uint8), np.zeros((24, 30), np.uint8)
    for class_id in (1, 2):
        y, x = rng.integers(0, 14, 2)
        image[y : y + 9, x : x + 9, class_id - 1] = 220
        mask[y : y + 9, x : x + 9] = class_id
    mask[:2] = 255
    return image, mask


class Folder:
    """Images on disk, and masks that a person would draw."""

    def __init__(self, root: Path, count: int = 24) -> None:
        self.root, self.masks = root, {}
        for index in range(count):
            name = f"day {index % 3}/straße_{index:02}"
            image, self.masks[name] = draw(index)
            (root / "data" / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imencode(".png", image[..., ::-1])[1].tofile(root / "data" / "images" / f"{name}.png")
        (root / "data" / "masks").mkdir()

    def label(self, *names: str) -> None:
        for name in names:
            file = self.root / "data" / "masks" / f"{name}.png"
            file.parent.mkdir(exist_ok=True)
            cv2.imencode(".png", self.masks[name])[1].tofile(file)

    def names(self, count: int) -> list[str]:
        return sorted(self.masks)[:count]

    def pool(self, **changes: object) -> OwnPool:
        settings: dict = {
            "name": "mine",
            "dataset": FolderSegmentation(root=self.root / "data", classes=CLASSES, size=(24, 32)),
            "model": TinyModel(),
            "strategy": Entropy(),
            "budget": 4,
            "train": Train(epochs=2, batch_size=4, lr=1e-2),
            "cold_start": Random(),
            "machine": Machine(output=str(self.root / "runs"), accelerator="cpu", workers=0),
        }
        return OwnPool(**{**settings, **changes})

    def finished(self, format: AnnotationFormat, names: list[str], to: str) -> Path:
        """Return what a tool gives back after a person has labeled these images."""
        images = {name: self.root / "data" / "images" / f"{name}.png" for name in names}
        return finished(format, images, self.masks.__getitem__, CLASSES, PALETTE, self.root / to)

    def write_config(self) -> None:
        """Write a config of the pool, ``mine.py``."""
        (self.root / "mine.py").write_text(textwrap.dedent(_CONFIG), encoding="utf-8")
