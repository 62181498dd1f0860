"""Tools in processes of their own, which a test can kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from conftest import ROOT


def start(script: str, folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start a tool in a folder, in a session of its own; its configs may import what tests share."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / script), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a job in the background of a script ignores Ctrl-C, and its children would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def kill_when(process: subprocess.Popen[str], there: Callable[[], object]) -> None:
    """Kill a process, and all it has started, as soon as something is true."""
    deadline = time.monotonic() + 300
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "what was waited for has not come"
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
