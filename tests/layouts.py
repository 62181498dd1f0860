"""Stand-in data in the layouts in which data sets are published, a frame of a split at a time."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BDD100K_LAYOUTS = [("images/10k/{}", "labels/sem_seg/masks/{}", ""), ("seg/images/{}", "seg/labels/{}", "_train_id")]
"""Images, masks and the masks' ending: as published today, and as published first."""


def save(path: Path, values: np.ndarray) -> None:
    """Write an image or a mask, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def picture(ids: np.ndarray) -> np.ndarray:
    """Return an image on which each class has a colour of its own, (H, W, 3)."""
    return ids[..., None] * np.array([31, 57, 83]) % 256


def camvid(root: Path, split: str, name: str, ids: np.ndarray) -> None:
    """Write a frame of CamVid."""
    save(root / split / "images" / f"{name}.png", picture(ids))
    save(root / split / "masks" / f"{name}.png", ids)


def cityscapes(root: Path, split: str, name: str, ids: np.ndarray, kind: str = "labelIds") -> None:
    """Write a frame of Cityscapes, whose name begins with its city."""
    city = name.partition("_")[0]
    save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", picture(ids))
    save(root / "gtFine" / split / city / f"{name}_gtFine_{kind}.png", ids)


def bdd100k(
    root: Path, split: str, name: str, ids: np.ndarray, layout: tuple[str, str, str] = BDD100K_LAYOUTS[0]
) -> None:
    """Write a frame of BDD100K, whose mask is a palette image with train ids for indices."""
    images, masks, ending = layout
    save(root / images.format(split) / f"{name}.jpg", picture(ids))
    mask = Image.frombytes("P", ids.shape[::-1], ids.astype(np.uint8).tobytes())
    mask.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    path = root / masks.format(split) / f"{name}{ending}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.save(path)


def images_and_masks(root: Path, name: str, ids: np.ndarray) -> None:
    """Write a person's own image and its mask."""
    save(root / "images" / f"{name}.jpg", picture(ids))
    save(root / "masks" / f"{name}.png", ids)


def cifar(
    root: Path, source: type, train: Sequence[int], test: Sequence[int], patch: pytest.MonkeyPatch
) -> dict[str, dict]:
    """Write torchvision's files, with noise of these (fine) labels, and let it expect their checksums.

    Returns:
        what each file holds.
    """
    rng, folder, written = np.random.default_rng(0), root / source.base_folder, {}
    folder.mkdir(parents=True)
    key = "fine_labels" if source.meta["key"] == "fine_label_names" else "labels"
    for name, labels in (("train_list", train), ("test_list", test)):
        listed = []
        files = [file for file, _ in getattr(source, name)]
        for file, part in zip(files, np.array_split(labels, len(files)), strict=True):
            content = {"data": rng.integers(0, 256, (len(part), 3072), dtype=np.uint8), key: part.tolist()}
            (folder / file).write_bytes(pickle.dumps(content))
            listed.append([file, hashlib.md5((folder / file).read_bytes()).hexdigest()])
            written[file] = content
        patch.setattr(source, name, listed)
    meta = pickle.dumps({source.meta["key"]: ["a"]})
    (folder / source.meta["filename"]).write_bytes(meta)
    patch.setattr(source, "meta", {**source.meta, "md5": hashlib.md5(meta).hexdigest()})
    return written
