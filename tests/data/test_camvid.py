"""CamVid: both layouts, its void, its facts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_al.config import UserError
from seg_al.data.camvid import CamVid, sequence


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


@pytest.mark.parametrize("layout", [("{}/images", "{}/masks"), ("{}", "{}annot")])
def test_void_is_ignored_in_both_layouts(tmp_path, layout):
    ids = np.arange(12).reshape(3, 4)
    for split in ("train", "val", "test"):
        write(tmp_path / layout[0].format(split) / f"0001TP_{split}.png", np.zeros((3, 4, 3)))
        write(tmp_path / layout[1].format(split) / f"0001TP_{split}.png", ids)
    dataset = CamVid(root=str(tmp_path))
    for split in ("train", "val", "test"):
        samples = dataset.samples(split)
        assert list(samples.ids) == [f"0001TP_{split}"]
        assert samples.target(0).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 255]]
    assert dataset.palette.shape == (11, 3) and len(dataset.class_names) == 11


def test_the_32_class_version_is_refused(tmp_path):
    write(tmp_path / "train/images/a.png", np.zeros((2, 2, 3)))
    write(tmp_path / "train/masks/a.png", np.array([[0, 12], [12, 31]]))
    with pytest.raises(UserError, match=r"unknown labels 12 \(2 pixels\), 31 \(1 pixel\).*11-class version"):
        CamVid(root=str(tmp_path)).samples("train").target(0)
    with pytest.raises(UserError, match="val/images: no such folder"):
        CamVid(root=str(tmp_path)).samples("val")


def test_real_camvid_is_as_published():
    root = Path(os.environ.get("SEG_AL_DATA", "/nonexistent")) / "camvid"
    if not root.is_dir():
        pytest.skip("needs $SEG_AL_DATA/camvid")
    dataset = CamVid(root=str(root))
    splits = {split: dataset.samples(split) for split in ("train", "val", "test")}
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 367, "val": 101, "test": 233}
    test = [sequence(name) for name in splits["test"].ids]
    assert test.count("Seq05VD") == 171 and test.count("0001TP") == 62
    assert {sequence(name) for name in splits["val"].ids} == {"0016E5"}
    target = splits["train"].target(0)
    raw = np.asarray(Image.open(root / "train/masks/0001TP_006690.png"))
    assert (raw == 11).any()
    np.testing.assert_array_equal(target, np.where(raw == 11, 255, raw))
