"""Look at a data set before spending a day on it: what is in it, what is wrong with it, how it looks.

    python tools/check_data.py configs/my_potholes.py --out check.png --dataset.root data/potholes

Exit code 0: no problems; 2: there are some. The settings of the config may be changed as in train_al.py.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from PIL import Image

from seg_al.command_line import ToolParser
from seg_al.config import Component, UserError, run_tool
from seg_al.data.base import Dataset
from seg_al.data.check import SPLITS, Report, check
from seg_al.own_pool import OwnPool
from seg_al.reporting.gallery import contact_sheet, legend, overlay
from seg_al.reporting.progress import progress


def main() -> int:
    parser = ToolParser(__doc__, "check_data.py CONFIG [--out PNG] [--images N] [--quick] [--setting value ...]")
    parser.add_argument("config", type=Path, help="config file of an experiment, or of a pool of your own")
    parser.add_argument("--out", type=Path, metavar="PNG", help="draw labeled images with their labels into this file")
    parser.add_argument("--images", type=int, default=12, help="how many of them (default: 12)")
    parser.add_argument("--quick", action="store_true", help="the check before training: do not decode all images")
    arguments, config, _ = parser.load(Component)
    if arguments.out and arguments.out.suffix.lower() != ".png":
        raise UserError(f"--out must be a .png, not {arguments.out}")
    if arguments.images < 1:
        raise UserError(f"--images must be 1 or more, not {arguments.images}")
    dataset = config.whole() if isinstance(config, OwnPool) else getattr(config, "dataset", config)
    if not isinstance(dataset, Dataset):
        raise UserError(f"{arguments.config}: its config has no dataset")

    start = time.perf_counter()
    report = check(dataset, decode_images=not arguments.quick, progress=progress)
    seconds, images = time.perf_counter() - start, sum(split.images for split in report.splits.values())
    if images:
        print(report.table())
        print(f"\n{images} images checked in {seconds:.1f} s, {1000 * seconds / images:.1f} ms each")
    for kind, lines in (("problem", report.problems), ("warning", report.warnings)):
        for line in lines:
            print(f"{kind}: {line}")
    if arguments.out and (sheet := draw(dataset, report, arguments.images)) is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(arguments.out)
        print(f"wrote {arguments.out}")
    if not report.problems:
        print("no problems")
    return 2 if report.problems else 0


def draw(dataset: Dataset, report: Report, count: int) -> np.ndarray | None:
    """Return a sheet of labeled images, evenly from all splits: under their masks, or named by their class."""
    tiles, captions, masks = [], [], False
    names = dict(enumerate(dataset.class_names))
    filled = [split for split in SPLITS if split in report.splits and report.splits[split].images]
    for split in filled:
        samples = dataset.samples(split)
        share = -(-count // len(filled))
        for index in np.linspace(0, len(samples) - 1, min(share, len(samples))).round().astype(int):
            try:
                image, target = samples.image(int(index)), samples.target(int(index))
            except UserError:
                continue  # told in the report
            if target is None:
                continue
            caption = f"{split}: {samples.ids[index]}"
            if target.ndim == 0:
                caption += f"\n{names.get(int(target), 'no class')}"
            else:
                masks, image = True, overlay(image, target, dataset.palette)
            tiles.append(image)
            captions.append(caption)
    if not tiles:
        return None
    sheet = contact_sheet(tiles, captions, tile=(240, 320))
    if not masks:
        return sheet
    return np.vstack([sheet, legend(dataset.class_names, dataset.palette, width=sheet.shape[1])])


if __name__ == "__main__":
    run_tool(main)
