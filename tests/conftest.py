"""Fixtures that several tests share."""

from __future__ import annotations

import importlib.util
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch

from seg_al.reporting.progress import Progress

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)  # the networks here are too small to gain by more


@contextmanager
def imported(path: str) -> Iterator[ModuleType]:
    """Import a script, named from the repository's root, as a module, to test its functions."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where its dataclasses look types up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


@dataclass
class Done:
    """What a tool left with and said."""

    returncode: int
    stdout: str
    stderr: str


Tool = Callable[..., Done]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Run a tool's file with arguments, in an empty folder, as a user does (but in this process)."""

    def run(script: str, *arguments: object) -> Done:
        monkeypatch.chdir(tmp_path)
        # away from a terminal a bar writes a line every half minute of the process, here of the whole test suite
        monkeypatch.setattr(Progress, "_next_plain_line", time.monotonic() + 3600)
        monkeypatch.setattr(sys, "argv", [str(ROOT / "tools" / script), *map(str, arguments)])
        capsys.readouterr()
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        return Done(code, *capsys.readouterr())

    return run
