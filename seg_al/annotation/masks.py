"""Masks as PNG files that hold train ids: what any paint program opens, and what any script writes."""

from __future__ import annotations

import io
import os
import shutil
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from typing_extensions import Self

from seg_al.annotation.base import UNTOUCHED, Annotated, AnnotationFormat, ToAnnotate
from seg_al.config import UserError
from seg_al.data.base import IGNORE
from seg_al.data.images import IMAGE_SUFFIXES

VOID_COLOR = (224, 224, 192)
"""Colour of void pixels, as in PASCAL VOC."""

_GRAY, _INDEXED = 0, 3  # colour types in a PNG's header


class PngMasks(AnnotationFormat):
    """Masks as 8-bit PNG files whose values are train ids: 254 = nothing labeled, 255 = void.

    The masks written are indexed: every viewer shows the classes' colours, and the indices are the ids. Those read
    may be indexed (indices are ids, whatever the colours) or gray (values are ids). Pictures in colour are refused:
    which colour means which class is not known here, and painting soft edges mixes colours.
    """

    def export(
        self, images: Iterable[ToAnnotate], class_names: Sequence[str], palette: np.ndarray, folder: Path
    ) -> list[str]:
        """Write ``images/<id>.<suffix>`` (copies), ``masks/<id>.png`` where there is a suggestion, ``classes.txt``.

        Raises:
            UserError: more than 254 classes; before anything is written.
        """
        check_count(class_names)
        colors = np.zeros((256, 3), np.uint8)
        colors[: len(class_names)], colors[IGNORE] = palette, VOID_COLOR
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        for image in images:
            copy = folder / "images" / f"{image.id}{image.image.suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image.image, copy)
            if image.suggestion is not None:
                mask = folder / "masks" / f"{image.id}.png"
                mask.parent.mkdir(parents=True, exist_ok=True)
                mask.write_bytes(indexed_png(suggested(image), colors))
        return [
            f"{folder / 'images'}: the images to annotate",
            f"{folder / 'masks'}: a mask for each, of the image's name and size: an 8-bit PNG, indexed or gray, whose "
            f"values are the numbers of the classes ({UNTOUCHED}: not labeled yet, {IGNORE}: void, counts for nothing)",
            f"{folder / 'classes.txt'}: the classes, a line each; the first has number 0",
        ]

    def read(self, source: Path, class_names: Sequence[str]) -> Iterator[Annotated]:
        """Read masks from a folder or a zip: below its ``masks`` folder where there is one, else all PNG files in it.

        An image below ``images`` without a mask is yielded as not finished.

        Raises:
            UserError: a ``classes.txt`` beside the masks that names other classes or has another order, and as the
                base class says.
        """
        check_count(class_names)
        with Files(source) as files:
            top = _top(files.names)
            masks = f"{top}masks/" if any(name.startswith(f"{top}masks/") for name in files.names) else top
            _check_classes(files, f"{top}classes.txt", class_names)
            found = {_stem(name, masks): name for name in files.names if name.startswith(masks) and _is_png(name)}
            if not found:
                raise UserError(f"{source}: holds no PNG masks; give the folder or the zip that holds them")
            for id, name in found.items():
                yield Annotated(id, read_ids(files.read(name), files.where(name), class_names), files.where(name))
            if masks != top:  # with the images beside them: those that are missing are known
                images = [name for name in files.names if name.startswith(f"{top}images/")]
                for name in (name for name in images if name.lower().endswith(IMAGE_SUFFIXES)):
                    if (id := _stem(name, f"{top}images/")) not in found:
                        yield Annotated(id, None, files.where(name))


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


def check_count(class_names: Sequence[str]) -> None:
    """Raise a UserError for more classes than fit beside the two values with a meaning of their own."""
    if len(class_names) > UNTOUCHED:
        raise UserError(
            f"{len(class_names)} classes, but masks to annotate hold at most {UNTOUCHED}: {UNTOUCHED} means not "
            f"labeled, {IGNORE} void; merge classes"
        )


def suggested(image: ToAnnotate) -> np.ndarray:
    """Return the suggestion of an image that has one, checked to fit it."""
    assert image.suggestion is not None
    mask = image.suggestion()
    if mask.shape != image.size or mask.dtype != np.uint8:
        raise ValueError(f"{image.id}: suggestion {mask.dtype} {mask.shape} for an image of {image.size}")
    return mask


def indexed_png(mask: np.ndarray, colors: np.ndarray) -> bytes:
    """Return an 8-bit indexed PNG: indices (H, W) uint8, and their colours (256, 3) uint8."""
    picture = Image.fromarray(mask)
    picture.putpalette(colors.tobytes())
    return png(picture)


def png(picture: Image.Image) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def read_ids(data: bytes, where: str, class_names: Sequence[str]) -> np.ndarray:
    """Return the train ids of a PNG mask, (H, W) uint8, 254 and 255 included.

    Raises:
        UserError: not a PNG, damaged, in colour, not of 8 bits, or with values that are no class.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            depth, kind = data[24], data[25]  # Pillow's modes do not tell gray of 4 bits, which it stretches
            if kind not in (_GRAY, _INDEXED):
                raise UserError(
                    f"{where}: is a picture in colour, not class numbers; save it indexed (with the palette of the "
                    "masks exported) or as 8-bit gray"
                )
            if kind == _GRAY and depth != 8:
                raise UserError(f"{where}: is gray of {depth} bits; save masks as 8-bit PNG, a number a class")
            mask = np.array(picture)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything
        raise UserError(f"{where}: is not a whole PNG ({error}); copy the file again") from None
    counts = np.bincount(mask.ravel(), minlength=256).tolist()
    last = len(class_names) - 1
    if unknown := [v for v in range(last + 1, UNTOUCHED) if counts[v]]:
        listed = ", ".join(f"{v} ({counts[v]} pixel{'s' * (counts[v] != 1)})" for v in unknown[:5])
        raise UserError(
            f"{where}: has values {listed}{' and more' * (len(unknown) > 5)}, but classes are 0-{last} (the nearest is "
            f"{last}, {class_names[last]!r}); correct them, or use {IGNORE} for void"
        )
    return mask


def _top(names: Sequence[str]) -> str:
    """Return the folder that holds masks/ or classes.txt: the top, or the one folder that somebody put it all in."""
    tops = {name.split("/")[0] for name in names}
    for top in ["", *(f"{name}/" for name in tops if len(tops) == 1)]:
        if any(name == f"{top}classes.txt" or name.startswith(f"{top}masks/") for name in names):
            return top
    return ""


def _check_classes(files: Files, name: str, class_names: Sequence[str]) -> None:
    if name not in files.names:
        return
    given = files.text(name)
    for number, (theirs, ours) in enumerate(zip([*given, None], [*class_names, None], strict=False)):
        if theirs != ours:
            raise UserError(
                f"{files.where(name)}: class {number} is {theirs!r}, but the data set's is {ours!r}, so the masks' "
                "numbers mean other classes; give the data set they were made for"
            )


def _stem(name: str, folder: str) -> str:
    return os.path.splitext(name.removeprefix(folder))[0]


def _is_png(name: str) -> bool:
    return name.lower().endswith(".png")


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
