"""Label Studio: tasks with brush masks."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from seg_al.annotation.base import UNTOUCHED, VOID, Annotated, AnnotationFormat, ToAnnotate
from seg_al.annotation.json_files import json_values
from seg_al.annotation.labels import VOID_COLOR, check_names, suggested, train_id
from seg_al.config import UserError
from seg_al.data.base import IGNORE

_FILE_SIZE = 100_000_000  # bytes; Label Studio refuses imports of 250 MB
_SHAPES = ("brush", "bitmask", "polygon", "rectangle", "ellipse", "keypoint", "vector")
_SHOWN = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}  # by every browser


class LabelStudio(AnnotationFormat):
    """Tasks for Label Studio, with predictions as brush regions, and its JSON export.

    Written: `label_config.xml` (a BrushLabels tag) and `tasks-001.json`, more of them where they grow large. Images
    stay where they are; Label Studio serves them from there (local files storage). Each task's data hold the sample's
    id and size.

    Read: the brush regions of every submitted annotation, one a task or several. Where regions overlap, the one that
    comes later lies on top. A pixel belongs to a region if it is at least half as opaque as the region's most opaque
    one: the edges of brush strokes are smoothed, and regions that programs made may be faint throughout. A task that
    was skipped, or has drafts or predictions alone, is not finished.

    The codec is here because the package that has Label Studio's own, label-studio-sdk, brings forty others and pins
    OpenCV to one old version.
    """

    def export(
        self, images: Iterable[ToAnnotate], class_names: Sequence[str], palette: np.ndarray, folder: Path
    ) -> list[str]:
        """Write the labeling configuration and the tasks; see `AnnotationFormat.export`."""
        check_names(class_names)
        for name in class_names:
            if re.search(r"[\x00-\x1f$\ud800-\udfff\ufffe\uffff]", name):
                raise UserError(f"class {name!r}: a Label Studio label has no control characters and no $; rename it")
        images = list(images)
        if not images:
            raise UserError("no images to annotate")
        try:
            storage = Path(os.path.commonpath([os.path.abspath(image.image.parent) for image in images]))
        except ValueError:
            raise UserError("the images lie on several drives; Label Studio serves files of one") from None
        root = storage.parent  # Label Studio serves folders below its document root, never the root itself
        names = [*class_names, VOID]
        config = _config(names, np.asarray(palette))
        (folder / "label_config.xml").write_text(config, encoding="utf-8")
        files = _write_tasks((_task(image, names, root) for image in images), folder)
        lines = [
            "Start Label Studio: LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={shlex.quote(str(root))} label-studio start",
            f"In a new project, Settings > Labeling Interface > Code: paste {folder / 'label_config.xml'}",
            f"Settings > Cloud Storage > Add Source Storage > Local Files, absolute local path {storage}; save it, "
            "do not sync it (it permits Label Studio to serve the images; the tasks are in the next file)",
            f"Import {', '.join(map(str, files))}",
        ]
        if any(image.suggestion is not None for image in images):
            lines.append(
                "Settings > Annotation: use predictions to prelabel tasks, so that annotators start from the model's"
            )
        if unseen := sorted({image.image.suffix for image in images if image.image.suffix.lower() not in _SHOWN}):
            lines.append(f"Browsers may not show {', '.join(unseen)} images; if yours does not, use PNG copies")
        return [*lines, "When done, Export > JSON (not JSON-MIN)"]

    def read(self, source: Path, class_names: Sequence[str]) -> Iterator[Annotated]:
        """Yield the annotations of a JSON export, or of those in a folder or zip; see `AnnotationFormat.read`."""
        for file, task in json_values(source):
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                raise UserError(
                    f"{file}: not Label Studio's JSON export; there, choose Export > JSON, not JSON-MIN or CSV"
                )
            where = f"{file}, task {task.get('id', '?')}"
            id, annotations = task["data"].get("sample"), task.get("annotations") or []
            if not isinstance(id, str):
                raise UserError(f"{where}: its data have no 'sample', the id: not one of the tasks that were exported")
            if not isinstance(annotations, list) or not all(isinstance(part, dict) for part in annotations):
                raise UserError(f"{where}: damaged annotations; export again, as JSON")
            finished = [part for part in annotations if not part.get("was_cancelled")]
            for annotation in finished:
                place = f"{where}, annotation {annotation.get('id', '?')}" if len(finished) > 1 else where
                yield Annotated(id=id, mask=_mask(annotation, task["data"], class_names, place), where=place)
            if not finished:
                yield Annotated(id=id, mask=None, where=where)


def _config(names: Sequence[str], palette: np.ndarray) -> str:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true", zoomControl="true")
    labels = ElementTree.SubElement(view, "BrushLabels", name="label", toName="image")
    for name, (red, green, blue) in zip(names, [*palette.tolist(), VOID_COLOR], strict=True):
        ElementTree.SubElement(labels, "Label", value=name, background=f"#{red:02x}{green:02x}{blue:02x}")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _task(image: ToAnnotate, names: Sequence[str], root: Path) -> dict[str, Any]:
    height, width = image.size
    path = Path(os.path.abspath(image.image)).relative_to(root).as_posix()
    data = {
        "image": "/data/local-files/?d=" + quote(os.fsencode(path)),
        "sample": image.id,  # not "id", which other exports of Label Studio overwrite
        "height": height,
        "width": width,
    }
    if image.suggestion is None:
        return {"data": data}
    mask = suggested(image)
    result = [
        {
            "id": f"region-{value}",
            "from_name": "label",
            "to_name": "image",
            "type": "brushlabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": encode(mask == value),
                "brushlabels": [VOID if value == IGNORE else names[value]],
            },
        }
        for value in np.unique(mask[mask != UNTOUCHED]).tolist()
    ]
    return {"data": data, "predictions": [{"model_version": "seg_al", "result": result}]}


def _write_tasks(tasks: Iterable[dict[str, Any]], folder: Path) -> list[Path]:
    paths = []
    for number, batch in enumerate(_batches(json.dumps(task, separators=(",", ":")) for task in tasks), start=1):
        paths.append(folder / f"tasks-{number:03}.json")
        paths[-1].write_text("[\n" + ",\n".join(batch) + "\n]\n", encoding="utf-8")
    return paths


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and size + len(text) > _FILE_SIZE:
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    yield batch


def _mask(annotation: dict[str, Any], data: dict[str, Any], class_names: Sequence[str], where: str) -> np.ndarray:
    height, width = size = data.get("height"), data.get("width")
    if not (type(height) is int and type(width) is int and height > 0 and width > 0):
        raise UserError(f"{where}: its data have height {height!r} and width {width!r}, not those that were exported")
    where = f"{where}, image {data['sample']!r}"
    mask = np.full((height, width), UNTOUCHED, dtype=np.uint8)
    for region in annotation.get("result") or []:
        try:
            kind, value = str(region.get("type")), region.get("value")
            if kind == "brushlabels":
                if (region["original_height"], region["original_width"]) != size or region.get("image_rotation"):
                    raise ValueError(
                        f"of {region['original_height']} x {region['original_width']} pixels, turned by "
                        f"{region.get('image_rotation', 0)}, on an image of {height} x {width}"
                    )
                [label] = value["brushlabels"]
                alpha = decode(value["rle"], height, width)
            elif kind.startswith(_SHAPES) or kind == "labels":
                raise UserError(f"{where}: a {kind} region; only labeled brush strokes are masks: redraw or delete it")
            else:  # a relation, a comment, a choice
                continue
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{where}: a damaged region ({' '.join(str(error).split())}); export again") from None
        mask[alpha >= max(alpha.max() / 2, 1)] = train_id(str(label), class_names, where)
    return mask


def encode(region: np.ndarray) -> list[int]:
    """Return Label Studio's run-length code of a region, (H, W) bool: bytes, of an RGBA picture that is 255 there.

    The code is that of the package rle-pack: bits, 32 for the number of values, 5 for the bits a value (less one),
    four times 4 for the bits a run's length may have (less one). Then, for each run: 1, the index of its length's
    bits in 2, its length less one, its value. (A 0 instead of the 1 leads a series of values that are no run.)
    """
    values = region.ravel()
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    lengths = 4 * np.diff(starts, append=values.size)
    pieces = -(-lengths // 65536)  # longer runs are several
    run_values = np.repeat(np.where(values[starts], 255, 0), pieces)
    runs = np.full(len(run_values), 65536)
    runs[np.cumsum(pieces) - 1] = lengths - 65536 * (pieces - 1)

    index = np.searchsorted([8, 16, 256], runs)
    sizes = np.array([3, 4, 8, 16])[index]
    codes = ((4 + index) << sizes | runs - 1) << 8 | run_values
    ends = np.cumsum(sizes + 11)
    bits = np.zeros(ends[-1], dtype=np.uint8)
    for size in (3, 4, 8, 16):
        chosen = sizes == size
        places = np.arange(size + 11)
        bits[ends[chosen, None] - 1 - places] = codes[chosen, None] >> places & 1
    header = f"{4 * values.size:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    return np.packbits(np.concatenate([np.array(list(header), dtype=np.uint8), bits])).tolist()


def decode(rle: list[int], height: int, width: int) -> np.ndarray:
    """Return the opacity of a region, (H, W) uint8, from Label Studio's run-length code; see `encode`.

    Raises:
        ValueError: it is damaged, or that of another size.
    """
    if not rle:  # a region that was erased
        return np.zeros((height, width), dtype=np.uint8)
    data, at = bytes(rle), 0

    def take(count: int) -> int:
        nonlocal at
        first, at = at, at + count
        last = at + 7 >> 3
        if last > len(data):
            raise ValueError("its code ends early")
        return int.from_bytes(data[first >> 3 : last], "big") >> 8 * last - at & (1 << count) - 1

    total, bits = take(32), take(5) + 1
    if total != 4 * height * width or bits != 8:
        raise ValueError(f"{total} values of {bits} bits, not the RGBA of {height} x {width} pixels")
    sizes = [take(4) + 1 for _ in range(4)]
    values = bytearray()
    while len(values) < total:
        is_run, size = take(1), sizes[take(2)]
        length = take(size) + 1
        values += bytes([take(8)]) * length if is_run else take(8 * length).to_bytes(length, "big")
    if len(values) != total:
        raise ValueError("its runs do not add up to the image")
    return np.frombuffer(values, dtype=np.uint8)[3::4].reshape(height, width)
