"""From what a mask file holds, label ids or colours, to train ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from seg_al.config import UserError
from seg_al.data.base import IGNORE
from seg_al.data.images import read_color_mask, read_mask

Color = tuple[int, int, int]
MaskReader = Callable[[Path], np.ndarray]
"""Reads a mask file as train ids, (H, W) uint8 with 255 = ignore."""


class UnknownLabels(UserError):
    """A mask holds labels that the data set does not know."""

    counts: Mapping[str, int] = {}
    """Pixels of each unknown label."""


class LabelIds:
    """Reads masks that hold label ids.

    Args:
        known: the train id, or 255 = ignore, of every label id from 0 to 65535 that a mask may hold.
        advice: what to do about another one.

    Raises (when called):
        UnknownLabels: names the file and each unknown id with its number of pixels.
        UserError: the mask cannot be read.
    """

    def __init__(self, known: Mapping[int, int], advice: str = "") -> None:
        self.known = dict(known)
        self.advice = advice
        self.table = np.full(65536, -1, dtype=np.int16)  # signed and wide: neither 255 nor -1 is a train id
        self.table[list(self.known)] = list(self.known.values())

    def __call__(self, path: Path) -> np.ndarray:
        """Return train ids, (H, W) uint8."""
        labels = read_mask(path)
        if labels.dtype == np.uint8:
            found = cv2.LUT(labels, self.table[:256])  # 8 times as fast as indexing, and without Python's lock
        elif labels.dtype == np.uint16:
            found = self.table[labels]
        else:
            found = np.where((labels >= 0) & (labels < len(self.table)), self.table[labels % len(self.table)], -1)
        if found.min() < 0:
            values, counts = np.unique(labels[found < 0], return_counts=True)
            knows = f"knows {_ranges([k for k, v in self.known.items() if v != IGNORE])}"
            if ignored := [k for k, v in self.known.items() if v == IGNORE]:
                knows += f", ignores {_ranges(ignored)}"
            raise _unknown(path, {str(v): int(n) for v, n in zip(values, counts, strict=True)}, knows, self.advice)
        return found.astype(np.uint8)


class LabelColors:
    """Reads masks that are pictures, a colour a class.

    Args:
        known: the train id, or 255 = ignore, of every RGB colour that a mask may hold.
        advice: what to do about another one.

    Raises (when called):
        UnknownLabels: names the file and each unknown colour with its number of pixels.
        UserError: the mask cannot be read.
    """

    def __init__(self, known: Mapping[Color, int], advice: str = "") -> None:
        self.advice = advice
        codes = _code(np.array(list(known), dtype=np.int32))
        order = np.argsort(codes)
        self.codes = codes[order]
        self.train_ids = np.array(list(known.values()), dtype=np.uint8)[order]

    def __call__(self, path: Path) -> np.ndarray:
        """Return train ids, (H, W) uint8."""
        codes = _code(read_color_mask(path).astype(np.int32))
        places = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        unknown = self.codes[places] != codes
        if unknown.any():
            values, counts = np.unique(codes[unknown], return_counts=True)
            colors = [str((int(v) >> 16, int(v) >> 8 & 255, int(v) & 255)) for v in values]
            raise _unknown(
                path, dict(zip(colors, counts.tolist(), strict=True)), f"knows {len(self.codes)} colours", self.advice
            )
        return self.train_ids[places]


def _code(colors: np.ndarray) -> np.ndarray:
    return colors[..., 0] << 16 | colors[..., 1] << 8 | colors[..., 2]


def _unknown(path: Path, counts: Mapping[str, int], knows: str, advice: str) -> UnknownLabels:
    most = sorted(counts.items(), key=lambda item: -item[1])[:20]
    listed = ", ".join(f"{label} ({count} pixel{'s' * (count != 1)})" for label, count in most)
    more = f" and {len(counts) - len(most)} more" if len(counts) > len(most) else ""
    error = UnknownLabels(f"{path}: has unknown labels {listed}{more}, the data set {knows}; {advice}")
    error.counts = counts
    return error


def _ranges(values: list[int]) -> str:
    """Return numbers in short: [0, 1, 2, 255] as ``0-2, 255``."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
