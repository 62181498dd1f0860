"""CVAT's format "Segmentation mask 1.1": masks in the labels' colours, as PASCAL VOC has them."""

from __future__ import annotations

import difflib
import io
import json
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seg_al.annotation.archive import Files
from seg_al.annotation.base import UNTOUCHED, VOID, Annotated, AnnotationFormat, ToAnnotate
from seg_al.annotation.labels import VOID_COLOR, check_void, suggested
from seg_al.config import UserError
from seg_al.data.base import IGNORE
from seg_al.data.files import some
from seg_al.data.folder import voc_color
from seg_al.data.images import decode_image

Color = tuple[int, int, int]

BACKGROUND = "background"
"""CVAT's name for what nobody labeled; where a task has a label of this name, such pixels are of that label."""

LONGEST_NAME = 64
"""Characters of a label's name that CVAT keeps."""

_BLACK: Color = (0, 0, 0)  # CVAT takes a label of this colour for the background, whatever its name
_CLASSES, _OBJECTS, _LISTS = "SegmentationClass/", "SegmentationObject/", "ImageSets/Segmentation/"


class Cvat(AnnotationFormat):
    """Masks to and from CVAT (https://www.cvat.ai), as its format "Segmentation mask 1.1".

    In CVAT a class is one mask object an image, whose parts need not touch. What CVAT exports says nothing of who has
    finished what: an image where nobody drew anything comes back as not finished, but one that came with a suggestion
    comes back with it as it was, so export jobs that are finished. A class called "background" is, in CVAT, what nobody
    labeled: such pixels come back as this class.
    """

    def export(
        self, images: Iterable[ToAnnotate], class_names: Sequence[str], palette: np.ndarray, folder: Path
    ) -> list[str]:
        """Write ``labels.json``, ``images.zip`` and ``annotations.zip``.

        CVAT matches masks to frames by path without suffix; that of a frame is its path in ``images.zip``, its id. A
        colour of `palette` that CVAT could not tell from another (a second one, or black, which is what nobody
        labeled) is exchanged for another.

        Raises:
            UserError: more than 254 classes, class names or ids that the format cannot hold; before anything is
                written.
        """
        images = list(images)
        _check_names(class_names)
        _check_ids(image.id for image in images)
        colors, changed = _label_colors(class_names, palette)
        (folder / "labels.json").write_text(_labels(class_names, colors), encoding="utf-8")
        with zipfile.ZipFile(folder / "images.zip", "w", strict_timestamps=False) as packed:
            for image in images:
                packed.write(image.image, f"{image.id}{image.image.suffix}")
        if any(image.suggestion is not None for image in images):
            with zipfile.ZipFile(folder / "annotations.zip", "w") as packed:
                _pack_suggestions(packed, images, class_names, colors)
        return _instructions(folder, class_names, changed)

    def read(self, source: Path, class_names: Sequence[str]) -> Iterator[Annotated]:
        """Read what CVAT exports as "Segmentation mask 1.1", of a job, a task or a project, with images or without.

        Raises:
            UserError: labels that share a colour, and as the base class says.
        """
        _check_names(class_names)
        with Files(source) as files:
            maps = [name for name in files.names if name.rsplit("/", 1)[-1] == "labelmap.txt"]
            if not maps:
                raise UserError(f"{source}: holds no labelmap.txt; export it from CVAT as 'Segmentation mask 1.1'")
            labelmap = min(maps, key=lambda name: name.count("/"))
            top = labelmap.removesuffix("labelmap.txt")
            reader = _ColorReader(_parse(files, labelmap), files.where(labelmap), class_names)
            lists = [name for name in files.names if name.startswith(top + _LISTS) and name.endswith(".txt")]
            listed = {unicodedata.normalize("NFC", line): name for name in lists for line in files.text(name)}
            place = top + _CLASSES
            masks = [name for name in files.names if name.startswith(place) and name.endswith(".png")]
            painted = {name.removeprefix(place).removesuffix(".png"): name for name in masks}
            if not listed and not painted:
                raise UserError(f"{source}: lists no image; export it from CVAT as 'Segmentation mask 1.1'")
            for id, name in {**listed, **painted}.items():
                mask = reader.ids(files.read(name), files.where(name)) if id in painted else None
                yield Annotated(id, mask, files.where(name))


class _ColorReader:
    """Reads colours as train ids.

    Args:
        labels: the colour of each label.
        where: the file that says so.
    """

    def __init__(self, labels: Mapping[str, Color], where: str, class_names: Sequence[str]) -> None:
        self.names, self.class_names = list(labels), class_names
        colors = list(labels.values())
        if twice := [name for name in labels if colors.count(labels[name]) > 1]:
            raise UserError(
                f"{where}: the labels {some([repr(name) for name in twice])} share a colour, so their pixels cannot be "
                "told apart; give them different colours in CVAT (black is for what nobody labeled) and export again"
            )
        black = next((name for name in labels if labels[name] == _BLACK), BACKGROUND)
        if black != BACKGROUND and black in (*class_names, VOID):
            raise UserError(
                f"{where}: the label {black!r} is black, and so is what nobody labeled; give it another colour in CVAT "
                "and export again"
            )
        known = {black: UNTOUCHED, VOID: IGNORE} | {name: i for i, name in enumerate(class_names)}
        codes = np.array([_code(color) for color in colors])
        self.order = np.argsort(codes)
        self.codes = codes[self.order]
        self.train_ids = np.array([known.get(self.names[i], -1) for i in self.order])

    def ids(self, data: bytes, where: str) -> np.ndarray:
        """Return the train ids of a mask file, (H, W) uint8."""
        picture = decode_image(data, where).astype(np.int32)
        codes = picture[..., 0] << 16 | picture[..., 1] << 8 | picture[..., 2]
        places = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        if (strange := self.codes[places] != codes).any():
            code, count = int(codes[strange][0]), int(strange.sum())
            color = (code >> 16, code >> 8 & 255, code & 255)
            raise UserError(
                f"{where}: has {count} pixels in colours like {color} that labelmap.txt does not name; export from "
                "CVAT again, and leave the files as they are"
            )
        found = self.train_ids[places]
        if (unknown := found < 0).any():
            label = self.names[self.order[places[unknown][0]]]
            count = int((places[unknown] == places[unknown][0]).sum())
            raise UserError(
                f"{where}: has the label {label!r} ({count} pixels), which is neither a class nor {VOID!r}; the "
                f"nearest class is {_nearest(label, self.class_names)!r}: rename the label or relabel the pixels in "
                "CVAT, and export again"
            )
        return found.astype(np.uint8)


def _pack_suggestions(
    packed: zipfile.ZipFile, images: Sequence[ToAnnotate], class_names: Sequence[str], colors: np.ndarray
) -> None:
    background = [] if BACKGROUND in class_names else [(BACKGROUND, _BLACK)]
    labels = [*background, *_named(class_names, colors)]
    labels.sort(key=lambda label: label[0] != BACKGROUND)  # first, wherever the class stands
    packed.writestr("labelmap.txt", "".join(f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in labels))
    # All of them, without a suggestion too: CVAT guesses the frames' common folder from the deepest path listed.
    packed.writestr(f"{_LISTS}default.txt", "".join(f"{image.id}\n" for image in images))
    objects = np.arange(256, dtype=np.uint8) + np.uint8(1)  # an object a class; object 0 is nothing
    objects[UNTOUCHED], objects[IGNORE] = 0, 255
    object_colors = np.array([voc_color(i) for i in range(256)], np.uint8)[objects]
    for image in images:
        if image.suggestion is not None:
            mask = suggested(image)
            packed.writestr(f"{_CLASSES}{image.id}.png", _png(Image.fromarray(colors[mask])))
            packed.writestr(f"{_OBJECTS}{image.id}.png", _png(Image.fromarray(object_colors[mask])))


def _label_colors(class_names: Sequence[str], palette: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the colours of train ids, (256, 3) uint8, all of them apart, and the classes whose colour was changed."""
    given: list[Color] = [(int(r), int(g), int(b)) for r, g, b in palette]
    table = np.zeros((256, 3), np.uint8)
    taken = {_BLACK}
    changed = []
    free = (color for color in map(voc_color, range(1024)) if color not in taken and color not in given)
    for i, name in enumerate(class_names):
        color = given[i]
        if color in taken and not (name == BACKGROUND and color == _BLACK):
            color = next(free)
            changed.append(name)
        table[i] = color
        taken.add(color)
    table[IGNORE] = VOID_COLOR if VOID_COLOR not in taken else next(free)
    if BACKGROUND in class_names:
        table[UNTOUCHED] = table[list(class_names).index(BACKGROUND)]
    return table, changed


def _named(class_names: Sequence[str], colors: np.ndarray) -> list[tuple[str, Color]]:
    ids = [*range(len(class_names)), IGNORE]
    return [(name, tuple(colors[id].tolist())) for name, id in zip([*class_names, VOID], ids, strict=True)]


def _labels(class_names: Sequence[str], colors: np.ndarray) -> str:
    """Return the label definitions, for the tab "Raw" of CVAT's label constructor."""
    labels = [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*color), "type": "any", "attributes": []}
        for name, color in _named(class_names, colors)
    ]
    return json.dumps(labels, indent=2, ensure_ascii=False) + "\n"


def _instructions(folder: Path, class_names: Sequence[str], changed: Sequence[str]) -> list[str]:
    lines = [
        f"{folder / 'labels.json'}: paste it into the tab 'Raw' of the labels, in a new CVAT task (or its project)",
        f"{folder / 'images.zip'}: upload it as the task's images",
    ]
    if (folder / "annotations.zip").exists():
        lines.append(
            f"{folder / 'annotations.zip'}: when the task is there, Actions > Upload annotations > Segmentation mask "
            "1.1, with 'Convert masks to polygons' off: they are the model's suggestions, to be corrected"
        )
    lines.append(
        "to bring the work back: Export annotations > Segmentation mask 1.1, of finished jobs alone: a suggestion that "
        "nobody has looked at is exported like finished work"
    )
    if BACKGROUND in class_names:
        lines.append(f"pixels that nobody labels come back as the class {BACKGROUND!r}")
    if changed:
        lines.append(f"other colours than the data set's, which CVAT could not tell apart: {some(changed)}")
    return lines


def _parse(files: Files, name: str) -> dict[str, Color]:
    labels: dict[str, Color] = {}
    for line in files.text(name):
        if line.startswith("#"):
            continue
        try:
            label, text, _, _ = line.rsplit(":", 3)
            red, green, blue = (int(part) for part in text.split(","))
            if not all(0 <= channel <= 255 for channel in (red, green, blue)) or label in labels:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{files.where(name)}: the line {line!r} is not a label of its own as name:r,g,b:: ; export from CVAT "
                "again"
            ) from None
        labels[label] = (red, green, blue)
    if not labels:
        raise UserError(f"{files.where(name)}: names no label; export from CVAT again")
    return labels


def _check_names(class_names: Sequence[str]) -> None:
    check_void(class_names)
    wrong = [name for name in class_names if not name or name != name.strip() or name[0] == "#" or _breaks(name, ":")]
    if wrong:
        raise UserError(
            f"class names that CVAT's format cannot hold: {some([repr(name) for name in wrong])}; rename them without "
            "colons, line breaks, # at the front, and spaces at the ends"
        )
    if long := [name for name in class_names if len(name) > LONGEST_NAME]:
        raise UserError(f"class names that CVAT cuts at {LONGEST_NAME} characters: {some(long)}; shorten them")


def _check_ids(ids: Iterable[str]) -> None:
    wrong = [id for id in ids if id != id.strip() or id[0] == "#" or _breaks(id, "\\") or ".." in id.split("/")]
    if wrong:
        raise UserError(
            f"image names that CVAT's format cannot hold ({len(wrong)}): {some([repr(id) for id in wrong])}; rename "
            "the images without line breaks, backslashes, # at the front, and spaces at the ends"
        )


def _breaks(text: str, marks: str) -> bool:
    return any(character in marks or unicodedata.category(character) == "Cc" for character in text)


def _nearest(label: str, class_names: Sequence[str]) -> str:
    def likeness(name: str) -> float:
        return difflib.SequenceMatcher(None, name.lower(), label.lower()).ratio()

    return max(class_names, key=likeness)


def _png(picture: Image.Image) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _code(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]
