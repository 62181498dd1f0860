"""One progress line for long work: what is being done, how far it is, the loss, and when it ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")

COLUMNS = 80
PLAIN_INTERVAL = 30.0
"""Seconds between lines where the output is not a terminal."""


class Progress:
    """A live bar on a terminal; elsewhere (a log file, a batch job) now and then a plain line.

    ``round 2/6 · train   45% ███▌    120/267 steps  loss 0.31  ETA 0:42``

    Away from a terminal a bar writes a line at most every `PLAIN_INTERVAL` seconds, counted over all
    bars of the process, so that a thousand short bars do not flood a log, and a closing line if it
    wrote one before.

    Args:
        description: what is being done.
        total: number of units; None where it is unknown.
        unit: singular name of what is counted.
        enabled: False draws nothing (ranks other than 0).
        file: where to draw; default stderr.
        initial: units that were done before, by an interrupted run.
    """

    _next_plain_line: float | None = None  # of the process, not of one bar

    def __init__(
        self,
        description: str,
        total: int | None = None,
        unit: str = "step",
        enabled: bool = True,
        file: TextIO | None = None,
        initial: int = 0,
    ) -> None:
        self.description, self.total, self.enabled = description, total, enabled
        self._units = unit + ("es" if unit.endswith("ch") else "s")
        self.n = self._initial = initial
        self._file = file or sys.stderr
        self._values: dict[str, Any] = {}
        self._start = time.monotonic()
        if Progress._next_plain_line is None:
            Progress._next_plain_line = self._start + PLAIN_INTERVAL
        self._next_line = Progress._next_plain_line
        self._wrote = False
        self._bar: _Bar | None = None
        if enabled and self._file.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = _Bar(
                self._values, desc=description, total=total, unit=self._units, file=self._file, initial=initial
            )

    def update(self, n: int = 1, **values: Any) -> None:
        """Count `n` more units and show `values` (numbers) from now on.

        A value becomes a number only when it is drawn, so a (detached) loss on the GPU can be given at
        every step without waiting for it.
        """
        self.n += n
        if values:
            self._values.update(values)
        if self._bar is not None:
            self._bar.update(n)
        elif self.enabled and time.monotonic() >= self._next_line:
            self._write_line()

    def set(self, **values: Any) -> None:
        """Show `values` from now on, without counting."""
        self._values.update(values)

    def close(self) -> None:
        """Draw the last state and end the line."""
        if self._bar is not None:
            self._bar.close()
        elif self.enabled and (self._wrote or time.monotonic() >= self._next_line):
            self._write_line()
        self.enabled, self._bar = False, None

    def _write_line(self) -> None:
        now = time.monotonic()
        elapsed = now - self._start
        rate = (self.n - self._initial) / elapsed if elapsed else None
        share = f"{100 * self.n / self.total:3.0f}%  " if self.total else ""
        count = f"{self.n}/{self.total}" if self.total else f"{self.n}"
        rest = _values(self._values) + _time(self.n, self.total, elapsed, rate)
        self._file.write(f"{self.description}  {share}{count} {self._units}{rest}\n")
        self._file.flush()
        self._wrote = True
        self._next_line = Progress._next_plain_line = now + PLAIN_INTERVAL

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def progress(
    iterable: Iterable[T], description: str, total: int | None = None, unit: str = "step", enabled: bool = True
) -> Iterator[T]:
    """Yield from `iterable` under a `Progress`; `total` defaults to its length where it has one."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Progress(description, total, unit, enabled) as bar:
        for item in iterable:
            yield item
            bar.update()


class _Bar(tqdm):
    """tqdm with values and remaining time in our format, within 80 columns."""

    monitor_interval = 0  # no helper thread: with miniters=1 every update looks at the clock by itself

    def __init__(self, values: dict[str, Any], total: int | None, **settings: Any) -> None:
        self.values = values
        head = "{desc}  {percentage:3.0f}% {bar}  {n_fmt}/{total_fmt}" if total else "{desc}  {n_fmt}"
        bar_format = head + " {unit}{values}{time}"
        super().__init__(total=total, dynamic_ncols=True, miniters=1, bar_format=bar_format, **settings)

    @property
    def format_dict(self) -> dict[str, Any]:
        fields = super().format_dict
        fields["ncols"] = columns = min(fields["ncols"] or COLUMNS, COLUMNS)
        done, elapsed = fields["n"] - self.initial, fields["elapsed"]
        rate = fields["rate"] or (done / elapsed if elapsed else None)
        fields["time"] = _time(fields["n"], fields["total"], elapsed, rate)
        # on a narrow line the last values give way, not the time; 12 = what else the line holds
        count = len(f"{fields['n']}{fields['total']}{fields['unit']}")
        fields["values"] = _values(self.values, columns - len(self.desc) - len(fields["time"]) - count - 12)
        return fields


def _values(values: dict[str, Any], width: int | None = None) -> str:
    """Return as many of ``"  loss 0.31  lr 0.001"`` as fit."""
    text = ""
    for name, value in values.items():
        part = f"  {name} {float(value):.3g}"
        if width is not None and len(text) + len(part) > width:
            break
        text += part
    return text


def _time(n: int, total: int | None, elapsed: float, rate: float | None) -> str:
    if total and n < total:
        return f"  ETA {_clock((total - n) / rate)}" if rate else "  ETA ?"
    return f"  in {_clock(elapsed)}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
