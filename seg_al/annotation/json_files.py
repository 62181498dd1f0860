"""JSON files of annotation tools, which may be larger than memory should hold at once."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seg_al.annotation.archive import Files
from seg_al.config import UserError


def json_values(source: Path) -> Iterator[tuple[str, Any]]:
    """Yield what JSON files hold, with their names; of a file that is a list, its elements one after the other.

    A list is never in memory as a whole: parsed, tasks with masks take eight times the bytes of their file.

    Args:
        source: a file, a folder or a zip; of the latter two, every file named *.json.

    Raises:
        UserError: no such file, none in it, or a damaged one.
    """
    if source.is_file() and not zipfile.is_zipfile(source):
        try:
            data = source.read_bytes()
        except OSError as error:
            raise UserError(f"{source}: cannot be read ({error.strerror}); copy it or export it again") from None
        yield from _parsed(data, str(source))
        return
    with Files(source) as files:
        names = [name for name in files.names if name.lower().endswith(".json")]
        if not names:
            raise UserError(
                f"{source}: holds no JSON file; give the file, folder or zip that the annotation tool wrote"
            )
        for name in names:
            yield from _parsed(files.read(name), files.where(name))


def _parsed(data: bytes, where: str) -> Iterator[tuple[str, Any]]:
    try:
        for value in _values(data.decode("utf-8-sig").strip()):
            yield where, value
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON, or damaged ({one_line(error)}); export it again") from None


def _values(text: str) -> Iterator[Any]:
    if not text.startswith("["):
        yield json.loads(text)
        return
    decoder, between, at = json.JSONDecoder(), re.compile(r"[\s,]*"), 1
    while not text.startswith("]", at := between.match(text, at).end()):  # type: ignore[union-attr]  # it always matches
        value, at = decoder.raw_decode(text, at)
        yield value
    if text[at:] != "]":
        raise ValueError(f"text after its end: char {at + 1}")


def one_line(error: Exception) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
