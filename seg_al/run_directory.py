"""What a run leaves on disk: atomic files, its state, resume, and a lock."""

from __future__ import annotations

import difflib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import filelock
import torch

from seg_al.config import Component, UserError, changed_modules, identity, save, source
from seg_al.reporting.files import write_atomically


class RunDirectory:
    """The folder of one run, in the package's public format. Every file appears whole or not at all.

    Args:
        path: the folder; made by `open`, not before.
        writes: whether this process writes (rank 0) or only reads.
        wait: whether `open` waits for another process that works on the run, rather than to refuse.
    """

    def __init__(self, path: Path, writes: bool = True, wait: bool = False) -> None:
        self.path = path
        self.writes = writes
        self.wait = wait
        self._lock = filelock.FileLock(path / ".lock")

    def open(self, config: Component, ignore: Sequence[str] = ()) -> dict[str, Any] | None:
        """Lock the folder, check that it belongs to `config`, and return the state of an unfinished run.

        Args:
            ignore: names of settings that may differ when a run goes on (the machine's).

        Returns:
            The last state written; None where the run is new.

        Raises:
            UserError: the folder cannot be written, another process works on it, or it holds a run of
                a different config (the difference is shown).
        """
        if self.writes:
            source(config)  # what cannot be written down is refused before there is a folder
            self.check(config, ignore)  # as are files of others, before our lock lies among them
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._acquire()
            except OSError as error:
                raise UserError(f"{self.path}: cannot write the run directory ({error.strerror})") from None
            try:
                if not self.check(config, ignore):
                    save(config, self.path)
                elif changed := changed_modules(config, self.path):
                    lines = ", ".join(map(str, changed))
                    print(f"note: {lines}: not as it was when this run began; the run goes on with it", file=sys.stderr)
                self._describe()
            except BaseException:
                self.close()
                raise
        return self.state()

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            busy = f"{self.path}: another process is working on this run"
            if not self.wait:
                raise UserError(f"{busy}; wait for it or stop it") from None
            print(f"{busy}; waiting for it", flush=True)
            self._lock.acquire(timeout=-1)

    def check(self, config: Component, ignore: Sequence[str] = ()) -> bool:
        """Return whether the folder holds a run, and check that it is one of `config`.

        Args:
            ignore: names of settings that may differ.

        Raises:
            UserError: it holds a run of a different config (the difference is shown), or other files.
        """
        existing = self.path / "config.py"
        if existing.exists():
            old, new = (identity(text, ignore) for text in (existing.read_text(encoding="utf-8"), source(config)))
            if old != new:
                changes = [
                    " ".join(line.split())
                    for line in difflib.unified_diff(old, new, n=0, lineterm="")
                    if line[:1] in "+-" and line[:3] not in ("+++", "---")
                ]
                raise UserError(
                    f"{self.path}: holds a run with other settings (- its, + yours): {' '.join(changes)}; "
                    "give this run another --name, or delete that folder"
                )
            return True
        begun = (self.path / ".lock").exists() and not (self.path / "rounds").exists()  # by a process, or one killed
        if self.path.exists() and not begun and any(self.path.iterdir()):
            raise UserError(f"{self.path}: holds files but no run; give this run another --name, or empty that folder")
        return False

    def _describe(self) -> None:
        """Write environment.json, a record a start: a run may go on after an update."""
        try:
            starts = list(json.loads((self.path / "environment.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # there is none, or it is damaged: no run needs it
            starts = []
        self.write_json("environment.json", [*starts, environment()])

    def close(self) -> None:
        """Let go of the lock."""
        if self.writes:
            self._lock.release()

    def siblings(self) -> list[Path]:
        """Return the runs under the same output folder whose settings differ in the strategy alone."""

        def settings(run: Path) -> list[str] | None:
            try:
                text = (run / "config.py").read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):  # somebody else's, or gone meanwhile
                return None
            return identity(text, ("name", "strategy", "machine"))

        own = settings(self.path)
        others = sorted(file.parent for file in self.path.parent.parent.glob(f"*/{self.path.name}/config.py"))
        return [run for run in others if run != self.path and settings(run) == own]

    def state(self) -> dict[str, Any] | None:
        """Return the last state written, or None."""
        return self.read_json("state.json") if (self.path / "state.json").exists() else None

    def round(self, number: int) -> Path:
        """Return the folder of a round, made if it was missing."""
        folder = self.path / "rounds" / f"{number:02d}"
        if self.writes:
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def read_json(self, name: str | Path) -> Any:
        """Read a JSON file of the run.

        Raises:
            UserError: it is damaged.
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{self.path / name}: damaged ({error}); restore it, or delete {self.path} to run it anew"
            ) from None

    def write_json(self, name: str | Path, value: Any) -> None:
        """Write a JSON file; NaN becomes null."""
        self.write(name, as_json(value))

    def write(self, name: str | Path, content: str | bytes) -> None:
        """Write a file atomically; rank 0 alone."""
        if self.writes:
            write_atomically(self.path / name, content)


def as_json(value: Any) -> str:
    """Return a value as JSON text; NaN becomes null."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def save_tensors(path: Path, state: Mapping[str, Any]) -> None:
    """Save tensors and plain values atomically with ``torch.save``."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_atomically(path, buffer.getvalue())


def load_tensors(path: Path) -> dict[str, Any]:
    """Load what `save_tensors` wrote, on the CPU.

    Raises:
        UserError: the file is damaged, or holds pickled objects (which could run code).
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise UserError(
            f"{path}: holds more than tensors, so it is not loaded; delete it to repeat that step"
        ) from None
    except Exception as error:  # what a damaged file leads to is anybody's guess
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged ({reason}); delete it to repeat that step") from None


def environment() -> dict[str, Any]:
    """Return versions, device, commit and command of this process."""
    packages = ("seg_al", "torch", "torchvision", "segmentation-models-pytorch", "timm", "albumentations")
    versions = {}
    for package in (*packages, "opencv-python-headless", "lightning-fabric", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed as a package"
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "versions": versions,
    }


def _commit() -> str | None:
    """Return the commit of the package's checkout; None where it has none, or the machine no git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:
        return None


def _plain(value: Any) -> Any:
    """Turn NumPy and torch values into JSON's, NaN and infinity into null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if (isinstance(value, float) and value != value) or value in (float("inf"), float("-inf")):
        return None
    return value
