"""What was made of a data set's files at some cost, remembered for the next run."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from filelock import FileLock

Arrays = dict[str, np.ndarray]


def cache_folder() -> Path:
    """Return the folder for what can be made again: ``$XDG_CACHE_HOME/seg_al``, by default ``~/.cache/seg_al``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "seg_al"


def remembered(source: Path, state: str, what: str, make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays that `make` returns, from the cache where it made them before.

    Of several processes, one makes them and the others wait. Where the cache cannot be written, a warning
    says so, and each makes its own.

    Args:
        source: the file or folder they are made of; it has one file in the cache.
        state: a text that is another one when the source has changed; they are made anew then.
        what: what `make` does, for the note that tells of it.
    """
    name = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:12]
    file = cache_folder() / f"{source.name}-{name}.npz"
    if (arrays := _read(file, state)) is not None:
        return arrays
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{file}.lock")
        lock.acquire()
    except OSError as error:
        warnings.warn(f"{file}: cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder", stacklevel=2)
        return make()
    try:
        if (arrays := _read(file, state)) is None:  # no other process has made it meanwhile
            print(f"note: {what}; remembered in {file} (delete it to do so again)", file=sys.stderr)
            arrays = make()
            _write(file, state, arrays)
        return arrays
    finally:
        lock.release()


def _write(file: Path, state: str, arrays: Arrays) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as stream:
            np.savez(stream, allow_pickle=False, **{**arrays, "state": np.array(state)})
        os.replace(temporary, file)
    except OSError as error:  # a full disk
        temporary.unlink(missing_ok=True)
        warnings.warn(f"{file}: cannot be written ({error.strerror}); it is made again next time", stacklevel=3)


def _read(file: Path, state: str) -> Arrays | None:
    """Return what is remembered; None where that is nothing, of another state, or damaged."""
    try:
        with np.load(file, allow_pickle=False) as saved:
            return {key: saved[key] for key in saved.files} if str(saved["state"]) == state else None
    except Exception:  # what a damaged file leads to is anybody's guess; it is made again
        return None


def pack(names: Iterable[str]) -> np.ndarray:
    """Return names as the bytes of one text: in an array of strings, each would be as long as the longest."""
    return np.frombuffer(os.fsencode("\0".join(names)), np.uint8)


def unpack(packed: np.ndarray) -> tuple[str, ...]:
    """Return the names that `pack` packed; at least one."""
    return tuple(os.fsdecode(packed.tobytes()).split("\0"))
