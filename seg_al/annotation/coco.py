"""COCO's instances JSON, which most annotation tools import and export."""

from __future__ import annotations

import json
import posixpath
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from seg_al.annotation.base import UNTOUCHED, VOID, Annotated, AnnotationFormat, ToAnnotate
from seg_al.annotation.json_files import json_values, one_line
from seg_al.annotation.labels import VOID_COLOR, check_names, suggested, train_id
from seg_al.config import UserError
from seg_al.data.base import IGNORE


class Coco(AnnotationFormat):
    """Images and their masks as COCO's JSON, for the tools that have no format of their own here.

    Written: `images`, copies named by the samples' ids, and `annotations/instances_default.json`, a zip of which CVAT,
    Datumaro and FiftyOne read as it is. An image has one annotation a class, in run-length encoding and with
    iscrowd = 0, as COCO's own semantic masks (its "stuff" annotations) have: importers drop or ignore crowds.

    Read: run-length encoding, compressed or not, and polygons (filled as COCO's own API fills them), crowds or not,
    any number a class. Where annotations overlap, the one that comes later in the file lies on top. An image without
    annotations is not finished: COCO has no mark for that.
    """

    def export(
        self, images: Iterable[ToAnnotate], class_names: Sequence[str], palette: np.ndarray, folder: Path
    ) -> list[str]:
        """Write the images and the JSON; see `AnnotationFormat.export`."""
        images = list(images)
        check_names(class_names)
        for image in images:
            if image.id.startswith("/") or ".." in image.id.split("/"):
                raise UserError(f"{image.image}: its id {image.id!r} cannot be a file's name below a folder")
        coco_mask = _pycocotools()
        names = [*class_names, VOID]
        colors = [*np.asarray(palette).tolist(), VOID_COLOR]
        categories = [
            {"id": i, "name": name, "supercategory": "", "color": color}
            for i, (name, color) in enumerate(zip(names, colors, strict=True), start=1)
        ]
        files: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, image in enumerate(images, start=1):
            height, width = image.size
            name = image.id + image.image.suffix
            _copy(image.image, folder / "images" / name)
            files.append({"id": number, "file_name": name, "height": height, "width": width})
            mask = np.empty(0) if image.suggestion is None else suggested(image)
            for value in np.unique(mask[mask != UNTOUCHED]).tolist():
                runs = coco_mask.encode(np.asfortranarray(mask == value, dtype=np.uint8))
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": len(names) if value == IGNORE else value + 1,
                        "segmentation": {"size": [height, width], "counts": runs["counts"].decode("ascii")},
                        "area": int(coco_mask.area(runs)),
                        "bbox": coco_mask.toBbox(runs).tolist(),
                        "iscrowd": 0,
                    }
                )
        content = {"info": {}, "licenses": [], "images": files, "categories": categories, "annotations": annotations}
        path = folder / "annotations" / "instances_default.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
        return [
            f"Upload {folder / 'images'} with its subfolders: the tool has to keep the files' names.",
            f"Make a label of each class, and one {VOID!r} for what counts for nothing; then import {path}"
            " as COCO annotations (some tools take all at once: a zip of the folder).",
            "When done, export as COCO (instances, masks if asked). Images without any annotation count as not done.",
        ]

    def read(self, source: Path, class_names: Sequence[str]) -> Iterator[Annotated]:
        """Yield the images of a JSON file, or of those in a folder or zip; see `AnnotationFormat.read`."""
        coco_mask = _pycocotools()
        for file, content in json_values(source):
            if not isinstance(content, dict) or not all(
                _dicts(content.get(part)) for part in ("images", "annotations", "categories")
            ):
                raise UserError(
                    f"{file}: not COCO's instances JSON, which has lists of images, annotations and categories; "
                    "export as COCO instances"
                )
            labels = {category.get("id"): str(category.get("name")) for category in content["categories"]}
            regions = defaultdict(list)
            for annotation in content["annotations"]:
                regions[annotation.get("image_id")].append(annotation)
            for image in content["images"]:
                if not isinstance(name := image.get("file_name"), str):
                    raise UserError(f"{file}: image {image.get('id')!r} has no file_name; export again")
                where = f"{file}, image {name!r}"
                id = unicodedata.normalize("NFC", posixpath.splitext(name)[0])  # as ids are, whichever system it was on
                mask = None
                if image_regions := regions.pop(image.get("id"), []):
                    size = _size(image, where)
                    mask = np.full(size, UNTOUCHED, dtype=np.uint8)
                    for annotation in image_regions:
                        label = labels.get(annotation.get("category_id"))
                        if label is None:
                            raise UserError(f"{where}: category {annotation.get('category_id')!r} is not in the file")
                        mask[_region(annotation, size, coco_mask, where)] = train_id(label, class_names, where)
                yield Annotated(id=id, mask=mask, where=where)
            if regions:
                raise UserError(f"{file}: annotations of an image {next(iter(regions))!r}, which is not in the file")


def _pycocotools() -> ModuleType:
    try:
        from pycocotools import mask
    except ImportError:
        raise UserError("COCO needs pycocotools, which is not installed: pip install 'seg_al[annotation]'") from None
    return mask


def _copy(image: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
    except OSError as error:
        raise UserError(f"{image}: cannot be copied to {target} ({error.strerror})") from None


def _dicts(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(item, dict) for item in part)


def _size(image: dict[str, Any], where: str) -> tuple[int, int]:
    size = image.get("height"), image.get("width")
    if not all(type(side) is int and side > 0 for side in size):
        raise UserError(f"{where}: its height and width are {size[0]!r} and {size[1]!r}; export again")
    return size  # type: ignore[return-value]


def _region(annotation: dict[str, Any], size: tuple[int, int], coco_mask: ModuleType, where: str) -> np.ndarray:
    """Return the pixels of one annotation, (H, W) bool."""
    height, width = size
    where = f"{where}, annotation {annotation.get('id')!r}"
    shape = annotation.get("segmentation")
    if not shape:
        raise UserError(f"{where} has no segmentation, as of a box; draw it as a mask or polygon, or delete it")
    try:
        if isinstance(shape, dict):
            if list(shape["size"]) != [height, width]:
                raise ValueError(f"its size is {shape['size']}, the image's {[height, width]}")
            counts = shape["counts"]
            runs = np.array(_counts(counts) if isinstance(counts, str) else counts)
            # pycocotools does not check this: it returns what was in the memory, or ends the process.
            if runs.dtype.kind != "i" or runs.min() < 0 or runs.sum() != height * width:
                raise ValueError("its runs do not add up to the image")
            return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
        polygons = [np.array(polygon, dtype=float) for polygon in shape]
        for polygon in polygons:
            if polygon.ndim != 1 or len(polygon) < 6 or len(polygon) % 2:
                raise ValueError("a polygon has at least three points, x and y each")
            # Its memory grows with the length of the line.
            if not np.all(np.abs(polygon) <= 4 * max(size)):
                raise ValueError("a polygon far outside of the image")
        parts = coco_mask.frPyObjects([polygon.tolist() for polygon in polygons], height, width)
        return coco_mask.decode(coco_mask.merge(parts)).astype(bool)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{where}: a damaged segmentation ({one_line(error)}); export again") from None


def _counts(text: str) -> list[int]:
    """Return the runs of COCO's compressed counts: 5 bits a character, most runs as differences to the last but one."""
    counts: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii"):
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its counts are no compressed runs")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the run's last character, whose highest bit is the sign
            value -= (bits & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its counts end early")
    return counts
