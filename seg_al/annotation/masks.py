"""Masks as PNG files that hold train ids: what any paint program opens, and what any script writes."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seg_al.annotation.archive import Files
from seg_al.annotation.base import UNTOUCHED, Annotated, AnnotationFormat, ToAnnotate
from seg_al.annotation.labels import VOID_COLOR, check_count, suggested
from seg_al.config import UserError
from seg_al.data.base import IGNORE
from seg_al.data.images import IMAGE_SUFFIXES

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
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        suggestions = 0
        for image in images:
            copy = folder / "images" / f"{image.id}{image.image.suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image.image, copy)
            if image.suggestion is not None:
                save_mask(folder / "masks" / f"{image.id}.png", suggested(image), palette)
                suggestions += 1
        what, left = "a mask for each goes here", []
        if suggestions:
            what = f"the model's suggestions for {suggestions} of them, to be corrected"
            left = ["an import takes a suggestion for finished work: import those alone that somebody has looked at"]
        return [
            f"{folder / 'images'}: the images to annotate",
            f"{folder / 'masks'}: {what}, of the image's name and size: 8-bit PNG, indexed or gray, whose values are "
            f"the numbers of the classes ({UNTOUCHED}: not labeled yet, {IGNORE}: void, counts for nothing)",
            *left,
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


def save_mask(file: Path, mask: np.ndarray, palette: np.ndarray) -> None:
    """Write train ids (H, W) uint8 as an indexed PNG in the colours (C, 3) uint8 of classes; its folder may be new."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)], colors[IGNORE] = palette, VOID_COLOR
    picture = Image.fromarray(mask)
    picture.putpalette(colors.tobytes())
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)


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
