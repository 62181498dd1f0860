"""``kill -9`` of queries and imports: the same command goes on, and no annotation is lost."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from background import kill_when, start
from own_folder import Folder

from seg_al.annotation.importing import STAGING
from seg_al.annotation.masks import PngMasks
from seg_al.own_query import Query


def finish(script: str, folder: Path, *arguments: object) -> str:
    process = start(script, folder, *arguments)
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return said


def masks(folder: Folder) -> dict[str, np.ndarray]:
    root = folder.root / "data" / "masks"
    files = [file for file in root.rglob("*.png") if STAGING not in file.parts]
    return {file.relative_to(root).with_suffix("").as_posix(): cv2.imread(str(file), -1) for file in files}


def test_a_query_goes_on_and_repeats_no_training_that_was_done(tmp_path: Path) -> None:
    whole, killed = Folder(tmp_path / "whole"), Folder(tmp_path / "killed")
    for folder in (whole, killed):
        folder.label(*folder.names(9))
        folder.write_config()
    before = masks(killed)
    finish("query.py", whole.root, "mine.py")
    own = killed.root / "runs" / "mine"
    written: dict[Path, int] = {}
    kinds = ("fold?.json", "metrics.json", "model.pt")
    for moment in ("models/*/fold0.json", "models/*/fold2.json", "models/*/model.pt", "queries/.001.new"):
        kill_when(start("query.py", killed.root, "mine.py"), lambda moment=moment: list(own.glob(moment)))
        files = [file for kind in kinds for file in own.glob(f"models/*/{kind}")]
        written.update((file, file.stat().st_mtime_ns) for file in files if file not in written)
    assert len(written) == 5  # three parts, the whole, and its scores
    finish("query.py", killed.root, "mine.py")
    assert {file: file.stat().st_mtime_ns for file in written} == written
    assert Query(own / "queries" / "001").ids == Query(whole.root / "runs" / "mine" / "queries" / "001").ids
    after = masks(killed)
    assert after.keys() == before.keys() and all(np.array_equal(after[name], before[name]) for name in before)


def test_an_import_is_not_begun_or_goes_on(tmp_path: Path) -> None:
    folder = Folder(tmp_path, count=300)
    folder.write_config()
    names = folder.names(300)
    work = folder.finished(PngMasks(), names, "work")
    command = ("query.py", folder.root, "mine.py", "--import", "masks", work)
    kill_when(start(*command), lambda: list((folder.root / "data" / "masks" / STAGING).glob("*")))
    assert not masks(folder)  # all are checked before one is put in place
    kill_when(start(*command), lambda: list((folder.root / "data" / "masks").glob("day*/*.png")))
    some = masks(folder)
    assert some and all(np.array_equal(mask, folder.masks[name]) for name, mask in some.items())
    said = finish(*command)
    assert f"{300 - len(some)} masks imported, {len(some)} were there already" in said
    done = masks(folder)
    assert sorted(done) == names and all(np.array_equal(done[name], folder.masks[name]) for name in names)
    assert not (folder.root / "data" / "masks" / STAGING).exists()
