"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Replace `path` so that a kill at any moment leaves either the old file or the whole new one; return it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # two processes may write the same report
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:  # a full disk needs the room
        temporary.unlink(missing_ok=True)
        raise
    return path
