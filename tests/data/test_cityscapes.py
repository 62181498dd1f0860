"""Cityscapes: the official table and layout, and val held out of train."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from layouts import cityscapes as frame

from seg_al.config import UserError
from seg_al.data.cityscapes import Cityscapes

# cityscapesScripts, helpers/labels.py: id -> trainId of the classes that are evaluated.
OFFICIAL = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
OFFICIAL |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}


def test_every_label_id_gets_its_train_id(tmp_path):
    ids = np.append(np.arange(34), 255).reshape(5, 7)  # license plate, -1, is 255 in a byte
    frame(tmp_path, "val", "bonn_000000_000019", ids)
    frame(tmp_path, "val", "bonn_000000_000019", ids * 0, "instanceIds")  # other files lie beside
    samples = Cityscapes(root=str(tmp_path)).samples("test")
    assert list(samples.ids) == ["bonn/bonn_000000_000019"]
    assert samples.target(0).ravel().tolist() == [OFFICIAL.get(k, 255) for k in range(34)] + [255]


def test_train_ids_are_taken_as_they_are_and_not_mistaken(tmp_path):
    ids = np.array([[0, 18, 255]])
    frame(tmp_path, "val", "bonn_000000_000019", ids, "labelTrainIds")
    dataset = Cityscapes(root=str(tmp_path), labels="labelTrainIds")
    assert dataset.samples("test").target(0).tolist() == [[0, 18, 255]]
    frame(tmp_path, "val", "bonn_000000_000019", np.array([[33, 0, 0]]), "labelTrainIds")
    with pytest.raises(UserError, match=r"unknown labels 33 \(1 pixel\).*check Cityscapes.labels"):
        dataset.samples("test").target(0)
    with pytest.raises(UserError, match="holds no masks"):
        Cityscapes(root=str(tmp_path)).samples("test")


def test_val_is_held_out_of_the_official_train(tmp_path):
    names = [f"aachen_{k:06}_000019" for k in range(6)] + [f"ulm_{k:06}_000019" for k in range(6)]
    for name in names:
        frame(tmp_path, "train", name, np.array([[7]]))
    dataset = Cityscapes(root=str(tmp_path), val_images=4)
    train, val = dataset.samples("train").ids, dataset.samples("val").ids
    assert len(val) == 4 and len(train) == 8
    assert sorted([*train, *val]) == [f"{name.partition('_')[0]}/{name}" for name in names]
    assert val == dataset.samples("val").ids
    assert len(Cityscapes(root=str(tmp_path), val_images=0).samples("val")) == 0
    with pytest.raises(UserError, match="val_images is 300, but there are 12 train images"):
        Cityscapes(root=str(tmp_path)).samples("train")
    with pytest.raises(UserError, match="0 or more"):
        Cityscapes(val_images=-1)


def test_wrong_layout_says_what_was_found(tmp_path):
    (tmp_path / "leftImg8bit" / "val").mkdir(parents=True)
    with pytest.raises(UserError, match=r"leftImg8bit/train: no such folder; .*leftImg8bit holds val/"):
        Cityscapes(root=str(tmp_path)).samples("train")


def test_real_label_ids_become_the_real_train_ids():
    root = Path(os.environ.get("SEG_AL_DATA", "/nonexistent")) / "cityscapes_mini"
    if not root.is_dir():
        pytest.skip("needs $SEG_AL_DATA/cityscapes_mini")
    ours = Cityscapes(root=str(root)).samples("test")
    theirs = Cityscapes(root=str(root), labels="labelTrainIds").samples("test")
    assert list(ours.ids) == ["frankfurt/frankfurt_000000_000294", "frankfurt/frankfurt_000001_058914"]
    np.testing.assert_array_equal(ours.target(1), theirs.target(1))
    # The small frame's two masks were shrunk each on its own, so single pixels at class borders differ.
    assert (ours.target(0) == theirs.target(0)).mean() > 0.99
