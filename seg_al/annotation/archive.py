"""Finished work as it comes back: a folder, or a zip that is read in place and not trusted."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from typing_extensions import Self

from seg_al.config import UserError


class Files:
    """Files of finished work, in a folder, or in a zip as a tool or a person packed it.

    A zip is read in place: nothing of it is unpacked, and one that names files outside itself is refused. Hidden
    files, and those that macOS adds, are left out.

    Raises:
        UserError: neither a folder nor a zip, damaged, or with names that are not to be trusted.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self.zip: zipfile.ZipFile | None = None
        if source.is_dir():
            places = [Path(place, name) for place, _, names in os.walk(source, followlinks=True) for name in names]
            self.files = self._by_name((path.relative_to(source).as_posix(), path) for path in places)
            return
        if not source.exists():
            raise UserError(f"{source}: does not exist; give the folder or zip that the annotation tool wrote")
        try:
            self.zip = zipfile.ZipFile(source)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(
                f"{source}: is neither a folder nor a whole zip ({error}); copy it or export it again"
            ) from None
        infos = [info for info in self.zip.infolist() if not info.is_dir()]
        if outside := [info.filename for info in infos if _leaves(info.filename)]:
            self.zip.close()
            raise UserError(
                f"{source}: names {outside[0]!r}, which could lie outside the zip; pack it anew, with names "
                "below its top and slashes between folders"
            )
        self.files = self._by_name((_zip_name(info), info) for info in infos)

    def _by_name(self, named: Iterable[tuple[str, Path | zipfile.ZipInfo]]) -> dict[str, Path | zipfile.ZipInfo]:
        files: dict[str, Path | zipfile.ZipInfo] = {}
        for raw, file in named:
            name = unicodedata.normalize("NFC", raw)  # as ids are, whichever system packed it
            if any(part.startswith(".") for part in name.split("/")):
                continue
            if name in files:
                raise UserError(f"{self.source}: holds {name} twice; keep one")
            files[name] = file
        return dict(sorted(files.items()))

    @property
    def names(self) -> Sequence[str]:
        """Paths below the top, with slashes, sorted."""
        return list(self.files)

    def where(self, name: str) -> str:
        """Return the place of a file, for messages."""
        return f"{self.source}: {name}" if self.zip is not None else str(self.files[name])

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            UserError: it cannot be read whole.
        """
        file = self.files[name]
        try:
            return file.read_bytes() if isinstance(file, Path) else self.zip.read(file)  # type: ignore[union-attr]
        except MemoryError:
            raise
        except Exception as error:  # a damaged zip raises anything
            raise UserError(f"{self.where(name)}: cannot be read ({error}); copy it or export it again") from None

    def text(self, name: str) -> list[str]:
        """Return the lines of a text file, stripped; empty ones are left out.

        Raises:
            UserError: it cannot be read, or is not UTF-8.
        """
        try:
            lines = self.read(name).decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.where(name)}: is not UTF-8 text ({error}); save it as UTF-8") from None
        return [line.strip() for line in lines if line.strip()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.zip is not None:
            self.zip.close()


def _leaves(name: str) -> bool:
    return name.startswith("/") or "\\" in name or name[1:2] == ":" or ".." in name.split("/")


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the name of a file in a zip. macOS packs UTF-8 without saying so; Python then takes it for cp437."""
    if not info.flag_bits & 0x800:
        try:
            return info.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return info.filename
