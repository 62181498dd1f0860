"""What may not be asked for: near-duplicates of what is chosen or labeled, and too many of one group."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from seg_al.reporting.queried import THUMBNAIL, thumbnail


@dataclass
class Skipped:
    """An image that a strategy wanted and that was left out."""

    id: str
    why: str


@dataclass
class Guards:
    """Walks through picks, best first, and takes those that are allowed.

    Args:
        ids: of the pool's images.
        image: reads one, (H, W, 3) uint8.
        threshold: correlation of thumbnails, up to 1, from which on an image is a near-duplicate; None: no guard.
        group: regular expression; what it matches at the start of an id names the group; empty: no groups.
        per_group: the most of a group, what was labeled or asked for before included.
        before: indices of what is labeled or was asked for.
    """

    ids: Sequence[str]
    image: Callable[[int], np.ndarray]
    threshold: float | None
    group: str
    per_group: int
    before: Sequence[int]
    skipped: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._names: list[int] = []
        self._rows = np.empty((len(self.ids) if self.threshold is not None else 0, THUMBNAIL), np.float32)
        self._groups: Counter[str] = Counter()
        for index in self.before:
            self.remember(index)

    @property
    def active(self) -> bool:
        """Whether anything can be left out at all."""
        return self.threshold is not None or bool(self.group)

    def take(self, index: int) -> bool:
        """Take a pick, or note why not."""
        if self.group and self._groups[self._group_of(index)] >= self.per_group:
            self.skipped.append(
                Skipped(self.ids[index], f"group {self._group_of(index)!r} has {self.per_group} already")
            )
            return False
        if self.threshold is not None and self._names:
            alike = self._rows[: len(self._names)] @ thumbnail(self.image(index))
            nearest = int(alike.argmax())
            if alike[nearest] >= self.threshold:
                twin = self.ids[self._names[nearest]]
                self.skipped.append(Skipped(self.ids[index], f"near-duplicate of {twin} ({alike[nearest]:.3f})"))
                return False
        self.remember(index)
        return True

    def remember(self, index: int) -> None:
        """Count an image as chosen, whatever the rules say."""
        if self.group:
            self._groups[self._group_of(index)] += 1
        if self.threshold is not None:
            self._rows[len(self._names)] = thumbnail(self.image(index))
            self._names.append(index)

    def _group_of(self, index: int) -> str:
        match = re.match(self.group, self.ids[index])
        return self.ids[index] if match is None else match[0]
