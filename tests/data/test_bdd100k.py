"""BDD100K: both published layouts, and palette masks whose indices are train ids."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from layouts import BDD100K_LAYOUTS
from layouts import bdd100k as write
from PIL import Image

from seg_al.config import UserError
from seg_al.data.bdd100k import BDD100K

IDS = np.array([[0, 18, 255], [5, 5, 13]], np.uint8)


@pytest.mark.parametrize("layout", BDD100K_LAYOUTS)
def test_palette_indices_are_train_ids(tmp_path, layout):
    for k in range(5):
        write(tmp_path, "train", f"0004a4c0-{k}", IDS, layout)
    write(tmp_path, "val", "7d06fefd-f7be05a6", IDS, layout)
    dataset = BDD100K(root=str(tmp_path), val_images=2)
    assert dataset.samples("test").ids == ("7d06fefd-f7be05a6",)
    np.testing.assert_array_equal(dataset.samples("test").target(0), IDS)
    train, val = dataset.samples("train").ids, dataset.samples("val").ids
    assert len(val) == 2 and sorted([*train, *val]) == [f"0004a4c0-{k}" for k in range(5)]
    with pytest.raises(UserError, match=r"BDD100K\.val_images is 1000, but there are 5 train images"):
        BDD100K(root=str(tmp_path)).samples("train")


def test_label_ids_of_its_own_are_refused(tmp_path):
    write(tmp_path, "val", "a", np.array([[10, 40]], np.uint8))
    with pytest.raises(UserError, match=r"unknown labels 40 \(1 pixel\).*masks hold train ids"):
        BDD100K(root=str(tmp_path)).samples("test").target(0)


def test_wrong_layout_names_both_and_what_was_found(tmp_path):
    (tmp_path / "bdd100k").mkdir()
    with pytest.raises(UserError, match=r"expected images/10k/val or seg/images/val, found bdd100k/"):
        BDD100K(root=str(tmp_path)).samples("test")


def test_a_real_mask(tmp_path):
    """Its train ids are the stored bytes."""
    real = Path(os.environ.get("SEG_AL_DATA", "/nonexistent")) / "bdd100k_mini" / "real_mask_mode_p.png"
    if not real.is_file():
        pytest.skip("needs $SEG_AL_DATA/bdd100k_mini/real_mask_mode_p.png")
    write(tmp_path, "val", "a", np.zeros((720, 1280), np.uint8))
    indices = np.frombuffer(Image.open(real).tobytes(), np.uint8).reshape(720, 1280)
    shutil.copy(real, tmp_path / "labels/sem_seg/masks/val/a.png")
    target = BDD100K(root=str(tmp_path)).samples("test").target(0)
    assert Image.open(real).mode == "P"
    np.testing.assert_array_equal(target, indices)
