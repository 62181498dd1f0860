"""Running a study: each run a process of its own, several at once, shared out over machines."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch

from seg_al.config import UserError, nearest
from seg_al.reporting.reading import ERROR
from seg_al.reporting.runs import FIRST, FULL
from seg_al.study import Key, Study

Launch = Callable[[Key, int], str | None]
"""Runs a run in a slot (0 .. workers - 1); returns what went wrong, or None."""


def chosen(study: Study, only: Sequence[str] = (), shard: str = "1/1") -> list[Key]:
    """Return the runs to do, each seed's first round before what starts from it.

    Args:
        only: names of strategies, or runs as ``name/seed<k>``; all where empty.
        shard: ``i/n``, i from 1: the i-th of n parts, of equal numbers of runs and few seeds each. The first
            rounds of those seeds belong to each part that needs them: the first to come trains it.

    Raises:
        UserError: no such run, or no such part.
    """
    every = study.keys()
    names = sorted({key.name for key in every} | {str(key) for key in every})
    for name in only:
        if name not in names:
            raise UserError(f"--only: no run {name!r} in this study{nearest(name, names)}")
    runs = [key for key in every if key.name in only or str(key) in only or (not only and key.name != FIRST)]
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise UserError(f"--shard is i/n, i from 1 to n, as 1/4 for the first of four, not {shard!r}")
    runs = runs[len(runs) * (part - 1) // parts : len(runs) * part // parts]
    first = [Key(FIRST, key.seed) for key in runs if key.name != FULL]
    return list(dict.fromkeys([*first, *runs]))


def run_all(study: Study, keys: Sequence[Key], workers: int, launch: Launch) -> dict[Key, str]:
    """Describe the study and run what is not done yet, several at once; return what went wrong, by run.

    A run that fails stops no other.

    Raises:
        UserError: a folder holds a run with other settings; found before anything runs or is written.
    """
    if workers < 1:
        raise UserError(f"--workers is {workers}; it takes at least 1")
    waiting = [key for key in keys if not study.done(key)]
    study.describe()
    for key in set(keys) - set(waiting):
        study.publish(key)  # one killed at its very end had no time for that
    print(f"{study.directory}: {len(keys) - len(waiting)} of {len(keys)} runs are done", flush=True)
    failed: dict[Key, str] = {}
    under_way: set[Key] = set()
    changed = threading.Condition()

    def next_run() -> Key | None:
        """Return a run that can start, waiting for the first round it starts from; None where none is left."""
        with changed:
            while waiting:
                for key in list(waiting):
                    first = Key(FIRST, key.seed)
                    if key.name not in (FIRST, FULL):
                        if first in failed:
                            waiting.remove(key)
                            failed[key] = f"not run: {first} failed"
                            continue
                        if first in waiting or first in under_way:
                            continue
                    waiting.remove(key)
                    under_way.add(key)
                    return key
                changed.wait(timeout=1)
            return None

    def work(slot: int) -> None:
        while key := next_run():
            try:
                problem = launch(key, slot)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            with changed:
                under_way.remove(key)
                if problem:
                    failed[key] = problem
                changed.notify_all()

    threads = [threading.Thread(target=work, args=(slot,), daemon=True) for slot in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # not one long join, which Ctrl-C could not end on all platforms
            thread.join(timeout=0.5)
    return failed


class Processes:
    """Runs runs as processes, whose output goes to ``logs/`` of the study; a line a round is printed.

    Args:
        command: returns the command line that does one run.
        workers: processes at once, between which cores and GPUs are shared out.
    """

    def __init__(self, study: Study, command: Callable[[Key], Sequence[str]], workers: int) -> None:
        self.logs = study.directory / "logs"
        self.command, self.workers = command, workers
        self.running: set[subprocess.Popen[str]] = set()

    def __call__(self, key: Key, slot: int) -> str | None:
        """Do one run; return why it failed, in a line."""
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.logs / f"{key.name}_seed{key.seed}.log"
        with open(path, "a", encoding="utf-8") as log:
            before = path.stat().st_size
            process = subprocess.Popen(
                self.command(key), stdout=subprocess.PIPE, stderr=log, env=self._environment(slot),
                encoding="utf-8", errors="replace",
            )  # fmt: skip
            self.running.add(process)
            for line in process.stdout or ():
                log.write(line)
                log.flush()
                if re.match(r"round \d+/\d+ |.*; waiting for it$", line):
                    print(f"{key!s:24} {line.rstrip()}", flush=True)
        self.running.discard(process)
        if process.wait() == 0:
            return None
        said = path.read_bytes()[before:].decode(errors="replace").strip().splitlines()
        errors = [line for line in said if ERROR.match(line)]
        if process.returncode < 0:
            why = f"killed by signal {-process.returncode}"
        else:
            why = (errors or said or [f"exit code {process.returncode}"])[-1]
        return f"{why} (see {path})"

    def _environment(self, slot: int) -> dict[str, str]:
        # a scheduler may have given this process some of the machine's cores and GPUs alone
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        environment = {"OMP_NUM_THREADS": str(max(1, cores // self.workers)), **os.environ}
        if gpus := torch.cuda.device_count():
            given = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
            environment["CUDA_VISIBLE_DEVICES"] = given.split(",")[slot % gpus].strip()
        return environment

    def stop(self) -> None:
        """End what is running; what it has done is kept."""
        for process in list(self.running):
            with suppress(OSError):
                process.terminate()
