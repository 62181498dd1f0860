"""What annotation tools exchange with a pool: images to annotate with suggestions, and finished masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

VOID = "void"
"""Name, in all tools, of the label for pixels that count for nothing (255 in a mask). A pixel without any label is
another matter: nobody has annotated it yet."""

UNTOUCHED = 254
"""Value, in `Annotated.mask`, of pixels without any label."""


@dataclass(frozen=True)
class ToAnnotate:
    """One image to annotate."""

    id: str
    """The sample's id: its path below the image folder without suffix; any characters but NUL."""

    image: Path
    """The image file."""

    size: tuple[int, int]
    """Height and width."""

    suggestion: Callable[[], np.ndarray] | None = None
    """Returns the model's prediction, (H, W) uint8 train ids, 255 = void; None without one. Called once, when its turn
    comes, so that a thousand large masks are never in memory together."""


@dataclass(frozen=True)
class Annotated:
    """One image that came back."""

    id: str
    """The sample's id, as it was exported."""

    mask: np.ndarray | None
    """(H, W) uint8 train ids; 255 where it was labeled void, `UNTOUCHED` where nothing was labeled. None where the tool
    says that nobody has finished it."""

    where: str
    """The place in the finished work, for messages: a file, or a task's number."""


class AnnotationFormat(Protocol):
    """Files of an annotation tool; one module a tool."""

    def export(
        self, images: Iterable[ToAnnotate], class_names: Sequence[str], palette: np.ndarray, folder: Path
    ) -> list[str]:
        """Write what the tool imports into an empty folder; return lines for people: what to do with which file.

        Args:
            palette: (C, 3) uint8 RGB, for the tool's label colours.

        Raises:
            UserError: more classes than the format can hold, or names that it cannot; before anything is written.
        """
        ...

    def read(self, source: Path, class_names: Sequence[str]) -> Iterator[Annotated]:
        """Yield what the tool exported, one image after the other; an image annotated twice comes twice.

        Args:
            source: the file or folder as the tool gives it, zipped or not.

        Raises:
            UserError: a file that is not of this format or damaged, or a label that is neither a class nor `VOID`
                (the nearest class is named, with the image).
        """
        ...
