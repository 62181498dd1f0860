"""Finished masks come into a data set whole, in its own encoding, and all of them or none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock
import numpy as np
import pytest
from PIL import Image

from seg_al.annotation import importing
from seg_al.annotation.base import Annotated
from seg_al.annotation.importing import Imported, import_masks
from seg_al.annotation.masks import PngMasks
from seg_al.config import UserError
from seg_al.data.files import FileSamples
from seg_al.data.folder import FolderSegmentation

CLASSES = ("road", "car", "tree")
SIZE = (4, 5)
RNG = np.random.default_rng(0)


class Given:
    """Finished work that is there already; an error among it is raised in its turn."""

    def __init__(self, *items: Annotated | Exception) -> None:
        self.items = items

    def read(self, source: Path, class_names: Sequence[str]) -> Iterator[Annotated]:
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item


def annotated(id: str, mask: object = None, where: str = "task 1") -> Annotated:
    return Annotated(id, None if mask is None else np.array(mask, np.uint8), where)


def random_mask(values: Sequence[int] = (0, 1, 2, 255)) -> np.ndarray:
    return RNG.choice(np.array(values, np.uint8), SIZE)


def pool(root: Path, ids: Sequence[str] = ("a", "b", "night/ä ö"), ending: str = "") -> None:
    for id in ids:
        path = root / "images" / f"{id}{ending}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(path)


def samples(root: Path, **settings: object) -> FileSamples:
    settings = {"classes": CLASSES, "fractions": (0.0, 0.0), "unlabeled_ok": True, **settings}
    return FolderSegmentation(root=str(root), **settings).samples("train")


def bring(root: Path, *items: Annotated | Exception, settings: dict | None = None, **options: object) -> Imported:
    data = samples(root, **(settings or {}))
    return import_masks(Given(*items), Path("work.zip"), data, CLASSES, root / "masks", **options)


def targets(root: Path, **settings: object) -> dict[str, list | None]:
    data = samples(root, **settings)
    found = [data.target(i) for i in range(len(data))]
    return {id: None if mask is None else mask.tolist() for id, mask in zip(data.ids, found, strict=True)}


def files(root: Path) -> dict[str, bytes]:
    """All files but the lock."""
    return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.suffix != ".lock"}


ENCODINGS = {
    "plain": {},
    "label ids": {"label_ids": ((7, 0), (26, 1), (27, 1), (21, 2)), "void": (0, 255)},
    "wide ids": {"label_ids": ((7, 0), (1000, 1), (21, 2)), "void": 60000},
    "colours": {"colors": ((128, 64, 128), (0, 0, 142), (107, 142, 35)), "void_color": ((9, 9, 9), (0, 0, 0))},
}


@pytest.mark.parametrize("settings", ENCODINGS.values(), ids=ENCODINGS)
def test_the_data_set_reads_what_was_brought(tmp_path, settings):
    pool(tmp_path)
    masks = {"b": random_mask(), "night/ä ö": np.full(SIZE, 255, np.uint8)}
    items = [annotated(id, mask) for id, mask in masks.items()]
    done = bring(tmp_path, annotated("a"), *items, settings=settings)
    assert done == Imported(written=("b", "night/ä ö"), unchanged=(), unfinished=("a",), partial=())
    expected = {"a": None, **{id: mask.tolist() for id, mask in masks.items()}}
    assert targets(tmp_path, **settings) == expected
    again = bring(tmp_path, annotated("a"), *items, settings=settings)
    assert again == Imported(written=(), unchanged=("b", "night/ä ö"), unfinished=("a",), partial=())


def test_the_first_of_several_label_ids_is_written(tmp_path):
    pool(tmp_path)
    bring(tmp_path, annotated("a", [[0, 1, 2, 255, 1]] * 4), settings=ENCODINGS["label ids"])
    assert np.array(Image.open(tmp_path / "masks" / "a.png")).tolist() == [[7, 26, 21, 0, 26]] * 4


def test_masks_have_the_ending_that_the_data_set_looks_for(tmp_path):
    pool(tmp_path, ending="_left")
    settings = {"image_ending": "_left", "mask_ending": "_gt"}
    mask = random_mask()
    bring(tmp_path, annotated("a", mask), settings=settings, mask_ending="_gt")
    assert targets(tmp_path, **settings)["a"] == mask.tolist() and (tmp_path / "masks" / "a_gt.png").exists()


def test_a_mask_that_is_replaced_stays_in_its_file(tmp_path):
    pool(tmp_path)
    (tmp_path / "masks").mkdir()
    Image.fromarray(random_mask()).save(tmp_path / "masks" / "a.tif")
    (tmp_path / "masks" / "b.png").write_bytes(b"damaged")
    masks = {"a": random_mask(), "b": random_mask()}
    items = [annotated(id, mask) for id, mask in masks.items()]
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"images that have another mask.* \(2\): a \(task 1\), b \(task 1\)"):
        bring(tmp_path, *items)
    assert files(tmp_path) == before
    assert bring(tmp_path, *items, replace=True).written == ("a", "b")
    assert targets(tmp_path) == {**{id: mask.tolist() for id, mask in masks.items()}, "night/ä ö": None}
    assert sorted(p.name for p in (tmp_path / "masks").iterdir() if not p.name.startswith(".")) == ["a.tif", "b.png"]


def test_a_mask_file_that_came_since_the_samples_were_listed_is_not_overwritten(tmp_path):
    pool(tmp_path)
    data = samples(tmp_path)
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "masks" / "a.png")
    with pytest.raises(UserError, match="have another mask"):
        import_masks(Given(annotated("a", np.ones(SIZE))), Path("w"), data, CLASSES, tmp_path / "masks")


def test_all_problems_are_told_together_and_nothing_is_changed(tmp_path):
    pool(tmp_path, ["a", "b", "c", "d", "e", "night/f"])
    partial = np.zeros(SIZE, np.uint8)
    partial[0] = 254
    with pytest.raises(UserError) as caught:
        bring(
            tmp_path,
            annotated("a", random_mask()),
            annotated("f", random_mask(), "task 9"),
            annotated("b", np.zeros(SIZE[::-1])),
            annotated("c", partial),
            annotated("d", np.zeros(SIZE)),
            annotated("d", np.ones(SIZE), "task 2"),
            annotated("e", np.full(SIZE, 77)),
        )
    assert str(caught.value) == (
        "work.zip: nothing was imported: images that the data set does not have; rename or remove them (1): 'f' at "
        "task 9, perhaps 'night/f'; masks of another size than their image; make them anew (1): b (task 1), 4x5, image "
        "5x4, turned; images with pixels that nobody labeled; label them, or accept partial masks, where they become "
        "void (1): c (task 1), 25.00%; images annotated twice, with different masks; keep one (1): d (task 2); masks "
        "with classes for which the data set has no label (1): e (task 1), 77"
    )
    assert not (tmp_path / "masks").exists()


def test_an_error_of_the_format_comes_with_the_problems_before_it(tmp_path):
    pool(tmp_path)
    (tmp_path / "masks").mkdir()
    error = UserError("x.png: has the label 'raod'")
    with pytest.raises(UserError, match=r"^x\.png: has the label 'raod' \(nothing was imported\)$"):
        bring(tmp_path, annotated("a", random_mask()), error)
    with pytest.raises(UserError, match=r"^work\.zip: nothing .*does not have.*'zz'.*; x\.png.*\(the rest was not"):
        bring(tmp_path, annotated("zz", random_mask()), error)
    with pytest.raises(UserError, match="holds no annotated image"):
        bring(tmp_path)
    assert files(tmp_path / "masks") == {}


def test_unlabeled_pixels_become_void_where_that_is_accepted(tmp_path):
    pool(tmp_path)
    mask = random_mask((0, 1, 254))
    done = bring(tmp_path, annotated("a", mask), annotated("b", np.full(SIZE, 254)), accept_partial=True)
    assert done == Imported(written=("a",), unchanged=(), unfinished=("b",), partial=("a",))
    assert targets(tmp_path)["a"] == np.where(mask == 254, 255, mask).tolist()


def test_void_needs_a_value_in_the_data_set(tmp_path):
    pool(tmp_path)
    some = random_mask((0, 254))
    for mask, options in ((random_mask((0, 255)), {}), (some, {"accept_partial": True})):
        with pytest.raises(UserError, match=r"masks with void pixels, for which the data set has no value.*\(1\): a"):
            bring(tmp_path, annotated("a", mask), settings={"void": None}, **options)
    mask = random_mask((0, 1, 2))
    bring(tmp_path, annotated("a", mask), settings={"void": None})
    assert targets(tmp_path, void=None)["a"] == mask.tolist()


def test_an_image_annotated_twice_the_same_way_is_one(tmp_path):
    pool(tmp_path)
    mask = random_mask()
    done = bring(tmp_path, annotated("a"), annotated("a", mask), annotated("a", mask), annotated("a"))
    assert done == Imported(written=("a",), unchanged=(), unfinished=(), partial=())
    flat = mask.reshape(SIZE[::-1])  # the same bytes
    with pytest.raises(UserError, match="annotated twice"):
        bring(tmp_path, annotated("a", mask), annotated("a", flat))


@pytest.mark.parametrize("stop_at", range(4))
def test_a_kill_between_masks_leaves_each_whole_and_a_further_import_completes(tmp_path, monkeypatch, stop_at):
    pool(tmp_path)
    (tmp_path / "masks").mkdir()
    old = random_mask()
    Image.fromarray(old).save(tmp_path / "masks" / "b.png")
    new = {id: random_mask() for id in ("a", "b", "night/ä ö")}
    items = [annotated(id, mask) for id, mask in new.items()]
    replace, calls = os.replace, []

    class Killed(BaseException):
        pass

    def killed(source, target):
        if len(calls) == stop_at:
            raise Killed
        calls.append(target)
        replace(source, target)

    monkeypatch.setattr(importing.os, "replace", killed)
    monkeypatch.setattr(importing.shutil, "rmtree", lambda *_, **__: None)  # what is killed cleans nothing up
    if stop_at < 3:
        with pytest.raises(Killed):
            bring(tmp_path, *items, replace=True)
    else:
        bring(tmp_path, *items, replace=True)
    monkeypatch.undo()
    assert (tmp_path / "masks" / ".importing").is_dir()
    before = {"a": None, "b": old, "night/ä ö": None}
    expected = {id: new[id] if i < stop_at else before[id] for i, id in enumerate(new)}
    assert targets(tmp_path) == {id: None if mask is None else mask.tolist() for id, mask in expected.items()}
    done = bring(tmp_path, *items, replace=True)
    assert done.unchanged == tuple(new)[:stop_at] and done.written == tuple(new)[stop_at:]
    assert targets(tmp_path) == {id: mask.tolist() for id, mask in new.items()}
    assert not (tmp_path / "masks" / ".importing").exists()


def test_a_disk_that_refuses_says_how_far_it_came(tmp_path, monkeypatch):
    pool(tmp_path)
    replace, calls = os.replace, []

    def full(source, target):
        if calls:
            raise OSError(28, "No space left on device")
        calls.append(target)
        replace(source, target)

    monkeypatch.setattr(importing.os, "replace", full)
    with pytest.raises(UserError, match=r"b\.png: cannot be written \(No space left on device\); 1 of 2 masks"):
        bring(tmp_path, annotated("a", random_mask()), annotated("b", random_mask()))


def test_one_import_at_a_time(tmp_path):
    pool(tmp_path)
    (tmp_path / "masks").mkdir()
    with filelock.FileLock(tmp_path / "masks" / ".importing.lock"), pytest.raises(UserError, match="another import"):
        bring(tmp_path, annotated("a", random_mask()))


def test_one_mask_is_in_memory_at_a_time(tmp_path):
    import weakref

    pool(tmp_path, [f"i{k}" for k in range(6)])
    alive: list[weakref.ref] = []

    class Watching:
        def read(self, source, class_names):
            for k in range(6):
                mask = random_mask()
                alive.append(weakref.ref(mask))
                yield Annotated(f"i{k}", mask, "x")
                del mask
                # The importer still names the last one; none before it.
                assert sum(ref() is not None for ref in alive) <= 1

    import_masks(Watching(), Path("w"), samples(tmp_path), CLASSES, tmp_path / "masks")
    assert len(alive) == 6


def test_from_the_files_of_a_tool_to_the_data_set(tmp_path):
    pool(tmp_path)
    masks = {"a": random_mask(), "night/ä ö": random_mask()}
    for id, mask in masks.items():
        path = tmp_path / "work" / f"{id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    done = import_masks(PngMasks(), tmp_path / "work", samples(tmp_path), CLASSES, tmp_path / "masks")
    assert done.written == ("a", "night/ä ö")
    assert targets(tmp_path) == {"a": masks["a"].tolist(), "b": None, "night/ä ö": masks["night/ä ö"].tolist()}
    Image.fromarray(np.full(SIZE, 3, np.uint8)).save(tmp_path / "work" / "b.png")
    before = files(tmp_path / "masks")
    with pytest.raises(UserError, match=r"b\.png: has values 3"):
        import_masks(PngMasks(), tmp_path / "work", samples(tmp_path), CLASSES, tmp_path / "masks", replace=True)
    assert files(tmp_path / "masks") == before
