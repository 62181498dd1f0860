"""A tree of class folders with a million files: listed, and looked at, only once."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from seg_al.config import UserError
from seg_al.data.cache import Arrays, pack, remembered, unpack
from seg_al.data.class_files import ClassFiles, scan_classes
from seg_al.data.files import Problems, require_folder
from seg_al.data.images import probe_image
from seg_al.reporting.progress import Progress

CHUNK = 1000


def index_classes(folder: Path, classes: Sequence[str], root: Path) -> ClassFiles:
    """Find images as `scan_classes` does, and take a cheap look at each; both are done once and `remembered`.

    They are done again when a class's folder has come, gone or changed: when a file in it was added, removed or
    renamed, as the folder's time of change tells. A file that is overwritten in place does not show, unless it
    could not be used before: such files are looked at again each time. To refresh all, delete the index.

    Raises:
        UserError: as `scan_classes`; and what that notes, all in one message.
    """
    require_folder(folder)
    state = hashlib.sha256(f"1\0{root.resolve()}\0{classes}".encode())
    with os.scandir(folder) as entries:
        for entry in sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.name):
            state.update(os.fsencode(f"\0{entry.name}\0{entry.stat().st_mtime_ns}"))
    return _indexed(folder, tuple(classes), root, state.hexdigest())


@functools.lru_cache(maxsize=2)
def _indexed(folder: Path, classes: tuple[str, ...], root: Path, state: str) -> ClassFiles:
    found = remembered(folder, state, f"looking at all images of {folder}", lambda: _look(folder, classes, root))
    paths = tuple(f"{folder}{os.sep}{name}" for name in unpack(found["images"]))
    return ClassFiles(unpack(found["ids"]), paths, found["classes"], found["sizes"])


def _look(folder: Path, classes: tuple[str, ...], root: Path) -> Arrays:
    problems = Problems()
    samples = scan_classes(folder, classes, problems, root)
    problems.raise_any(str(folder))
    chunks = [samples.images[start : start + CHUNK] for start in range(0, len(samples), CHUNK)]
    sizes: list[tuple[int, int]] = []
    with (
        Progress(f"looking at {folder.name}", total=len(samples), unit="image") as bar,
        ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads,
    ):
        for seen in threads.map(lambda paths: [_size(path) for path in paths], chunks):
            sizes += seen
            bar.update(len(seen))
    below = (str(path)[len(str(folder)) + 1 :] for path in samples.images)
    return {
        "ids": pack(samples.ids),
        "images": pack(below),
        "classes": samples.classes,
        "sizes": np.array(sizes, dtype=np.int32),
    }


def _size(path: str | Path) -> tuple[int, int]:
    try:
        return probe_image(path)
    except UserError:
        return 0, 0  # not known: who asks for it meets the error
