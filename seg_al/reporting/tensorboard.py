"""What a run writes for TensorBoard: results against the number of labeled images, losses against epochs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter

TRAIN = "train"


class RunWriter:
    """Writes ``<run>/tensorboard``; a context manager.

    Tags under ``train/`` (`epoch`) have the number of epochs since the start of the run as x; all others
    the number of labeled images. Runs below one log directory show as that many curves of ``test/mIoU``.

    What a resumed run writes again is taken out of the earlier event files: for `purge_step`, when the
    writer opens; for epochs, when the first repeated one comes, wherever training went on from. (Not
    left to TensorBoard's own purge, a session-start event: it has one step for all tags, and here there
    are two x axes.) A TensorBoard that is open meanwhile shows the change at once, or, run with
    ``--load_fast false``, after a restart.

    Args:
        run_dir: the run; ``tensorboard/`` below it is created.
        purge_step: values and pictures at this number of labeled images and above are dropped; None
            keeps all.
    """

    def __init__(self, run_dir: Path | str, purge_step: int | None = None) -> None:
        directory = Path(run_dir) / "tensorboard"
        self._earlier = sorted(directory.glob("*tfevents*"))
        self._trained: set[str] = set()
        if purge_step is not None:
            _drop_events(self._earlier, lambda tag, step: step >= purge_step and not tag.startswith(f"{TRAIN}/"))
        self._writer = SummaryWriter(str(directory))

    def round_metrics(self, labeled: int, metrics: Mapping[str, Any]) -> None:
        """Write what ``metrics.json`` says of one round, and flush.

        ``test`` becomes ``test/mIoU``, ``test/IoU/<class>``, ...; ``seconds`` becomes ``seconds/train``,
        ...; ``diagnostics`` keep their own names (``vaal/active_units``). Lists of numbers become
        histograms. What is missing (None, NaN), infinite, or no number is left out.

        Args:
            labeled: number of labeled images, the x of every value.
            metrics: nested mappings of numbers, lists of numbers, or anything else.
        """
        for part in ("test", "seconds", "diagnostics"):
            for tag, value in _flatten(metrics.get(part) or {}, "" if part == "diagnostics" else part):
                if isinstance(value, Real):
                    if math.isfinite(value):
                        self._writer.add_scalar(tag, float(value), labeled)
                elif (numbers := _finite(value)).size:
                    self._writer.add_histogram(tag, numbers, labeled)
        self._writer.flush()  # a round that is finished must survive a kill -9

    def epoch(self, name: str, values: Mapping[str, float], step: int) -> None:
        """Write the training curve's values of one epoch as ``<name>/<key>``.

        Args:
            name: ``"train"`` for the task model, ``"train/vaal"`` and the like for others.
            values: losses, learning rate, ..., by names without "/"; what is not finite is left out.
            step: epochs of this model since the start of the run, all rounds counted.

        Raises:
            ValueError: `name` is not below ``train``: its x axis would mix with the other tags'.
        """
        if name != TRAIN and not name.startswith(f"{TRAIN}/"):
            raise ValueError(f"epochs are written below '{TRAIN}', as '{TRAIN}/{name}', not as {name!r}")
        if name not in self._trained:
            self._trained.add(name)
            _drop_events(self._earlier, lambda tag, at: at >= step and tag.rpartition("/")[0] == name)
        for key, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"{name}/{key}", float(value), step)

    def image(self, tag: str, rgb: np.ndarray, labeled: int) -> None:
        """Write a picture, (H, W, 3) uint8 RGB, at a number of labeled images, and flush."""
        self._writer.add_image(tag, rgb, labeled, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Write what is pending and close the file."""
        self._writer.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _flatten(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        tag = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _flatten(value, tag)
        else:
            yield tag, value


def _finite(value: Any) -> np.ndarray:
    """Return the finite numbers of a list or array, flat; empty where it is something else."""
    if not isinstance(value, (list, tuple, np.ndarray)):
        return np.empty(0)
    try:
        numbers = np.asarray(value, dtype=float).ravel()  # None becomes NaN
    except (TypeError, ValueError):
        return np.empty(0)
    return numbers[np.isfinite(numbers)]


def _drop_events(paths: Sequence[Path], drop: Callable[[str, int], bool]) -> None:
    """Rewrite, atomically, those event files that hold a value for whose tag and step `drop` is true."""
    for path in paths:
        dropped = False
        # TensorBoard reads every name that contains "tfevents", so the unfinished copy must not
        copy = path.with_name(f".rewriting.{os.getpid()}")
        with open(copy, "wb") as file:
            writer = RecordWriter(file)
            for record in RawEventFileLoader(str(path)).Load():  # stops at a record cut short by a crash
                event = Event.FromString(record)
                if any(drop(value.tag, event.step) for value in event.summary.value):
                    dropped = True
                else:
                    writer.write(record)
            writer.flush()
            os.fsync(file.fileno())
        if dropped:
            os.replace(copy, path)
        else:
            copy.unlink()
