"""A pool of one's own, tried on CamVid's images with most masks hidden, through each annotation tool's files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from annotators import FORMATS, finished
from tiny import TinyModel

from seg_al import VAAL, FolderSegmentation, OwnPool, Random, Train, ask
from seg_al.annotation.base import AnnotationFormat
from seg_al.machine import Machine
from seg_al.own_query import bring_in, export

CAMVID = Path(os.environ.get("SEG_AL_DATA", "")) / "camvid" / "train"

pytestmark = pytest.mark.skipif(
    not CAMVID.is_dir() or not os.environ.get("SEG_AL_DATA"), reason="needs SEG_AL_DATA/camvid"
)


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: type(format).__name__)
def test_three_queries_give_back_the_masks_of_camvid(format: AnnotationFormat, tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "masks").mkdir()
    shutil.copy(CAMVID.parent / "classes.txt", tmp_path / "data")
    for image in sorted((CAMVID / "images").glob("*.jpg"))[::15]:
        shutil.copy(image, tmp_path / "data" / "images")
    original = FolderSegmentation(
        root=CAMVID, classes=str(CAMVID.parent / "classes.txt"), void=11, fractions=(0.0, 0.0)
    ).samples("train")
    where = {name: index for index, name in enumerate(original.ids)}
    dataset = FolderSegmentation(root=tmp_path / "data", void=11, size=(48, 64))
    pool = OwnPool(
        name="camvid", dataset=dataset, model=TinyModel(), strategy=VAAL(latent=4, epochs=1, batch_size=4), budget=3,
        train=Train(epochs=2, batch_size=4, lr=1e-2), folds=2, cold_start=Random(), near_duplicate=0.99,
        machine=Machine(output=tmp_path / "runs", accelerator="cpu", workers=0),
    )  # fmt: skip
    asked = []
    for number in (1, 2, 3):
        query = ask(pool, lambda line: None)
        export(pool, query, format, query.path / "export")
        images = {name: tmp_path / "data" / "images" / f"{name}.jpg" for name in query.ids}
        truth = lambda name: original.target(where[name])  # noqa: E731
        work = finished(format, images, truth, dataset.class_names, dataset.palette, tmp_path / f"work{number}")
        assert len(bring_in(pool, format, work).written) == 3
        asked += query.ids
    samples = pool.scan().samples
    for name in asked:
        np.testing.assert_array_equal(samples.target(samples.ids.index(name)), original.target(where[name]))
    assert len(set(asked)) == 9
