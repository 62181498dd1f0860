"""A query of a large pool: time to the first line, time an image, and peak memory, for pools of two sizes.

    python tools/benchmark_query.py [--images 2000 20000] [--size 96 128]

Writes drawn street scenes to a temporary folder (a hundred different ones, linked under as many names as it takes),
labels 50 of them, and runs tools/query.py on it as a person would, in a process of its own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro
from PIL import Image

from seg_al import Streets
from seg_al.config import run_tool

CONFIG = """
from seg_al import SMP, Entropy, FolderSegmentation, OwnPool, Streets, Train
config = OwnPool(
    name="large",
    dataset=FolderSegmentation(root="data", classes=Streets().class_names, size={size}),
    model=SMP(encoder="tu-tf_efficientnet_lite0"), strategy=Entropy(), budget=50, folds=0, train=Train(epochs=1),
)
"""
DIFFERENT, LABELED = 100, 50


def main(images: tuple[int, ...] = (2000, 20_000), size: tuple[int, int] = (96, 128)) -> None:
    """Measure queries.

    Args:
        images: sizes of the pools.
        size: height and width of the images, and of the network's input.
    """
    tool = Path(__file__).with_name("query.py")
    print(f"{'images':>8} {'first line':>11} {'images listed':>14} {'all':>8} {'an image':>10} {'peak memory':>12}")
    for count in images:
        with tempfile.TemporaryDirectory() as folder:
            write_pool(Path(folder), count, size)
            times, start = [], time.monotonic()
            process = subprocess.Popen(
                [sys.executable, tool, "large.py"],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for line in process.stdout or ():
                times.append((time.monotonic() - start, line))
            if process.wait():
                raise RuntimeError(f"query.py left with {process.returncode}")
            whole = time.monotonic() - start
            listed = next(at for at, line in times if " labeled, " in line)
            trained = next(at for at, line in times if "mIoU" in line)
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest so far
            an_image = 1000 * (whole - trained) / count
            print(
                f"{count:8} {times[0][0]:9.1f} s {listed:12.1f} s {whole:6.0f} s {an_image:7.1f} ms {memory:8.0f} MiB",
                flush=True,
            )


def write_pool(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write images, masks of the first, and a config."""
    streets = Streets(train=DIFFERENT, native=size, size=size, run_length=1)
    samples = streets.samples("train")
    (folder / "data" / "images").mkdir(parents=True)
    (folder / "data" / "masks").mkdir()
    (folder / "large.py").write_text(CONFIG.format(size=size))
    for index in range(count):
        file = folder / "data" / "images" / f"{index:06}.jpg"
        if index < DIFFERENT:
            Image.fromarray(samples.image(index)).save(file)
        else:
            os.link(file.with_name(f"{index % DIFFERENT:06}.jpg"), file)
        if index < LABELED:
            Image.fromarray(samples.target(index)).save(folder / "data" / "masks" / f"{index:06}.png")


if __name__ == "__main__":
    run_tool(lambda: tyro.cli(main, description=__doc__))
