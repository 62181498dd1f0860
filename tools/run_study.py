"""Run a study, several strategies over paired seeds, and report on it: python tools/run_study.py CONFIG [options]

Runs are independent: one that fails stops no other, what is done is skipped, what was interrupted goes on.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

from seg_al.command_line import ToolParser
from seg_al.config import UserError, run_tool
from seg_al.reporting.reading import read_runs
from seg_al.reporting.report import write_report
from seg_al.reporting.run_analysis import seconds_saved
from seg_al.study import Study
from seg_al.study_runner import Processes, chosen, run_all


def main() -> int:
    usage = "run_study.py CONFIG [--workers N] [--shard i/n] [--full] [--only RUN ...] [--setting value ...]"
    parser = ToolParser(__doc__, usage)
    parser.add_argument("config", help="a file whose `config` is a Study")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at once on this machine (1)")
    parser.add_argument("--shard", default="1/1", metavar="i/n", help="the i-th of n parts, for as many machines")
    parser.add_argument("--full", action="store_true", help="train on the whole pool, too: the upper bound")
    parser.add_argument("--only", nargs="+", default=[], metavar="RUN", help="strategies, or runs as random/seed0")
    parser.add_argument("--here", action="store_true", help="run in this process, one after the other")
    parser.add_argument("--no-report", action="store_true", help="leave the report to tools/report.py")
    arguments, study, overrides = parser.load(Study, more=["full"])
    keys = chosen(study, arguments.only, arguments.shard)

    if arguments.here:
        for key in keys:
            if not study.done(key):
                study.run(key)
        return 0
    study.check_size()
    again = [sys.executable, __file__, arguments.config, *overrides, *(["--full"] if arguments.full else [])]
    signal.signal(signal.SIGTERM, interrupt)  # else the runs would go on without this process
    processes = Processes(study, lambda key: [*again, "--here", "--only", str(key)], arguments.workers)
    try:
        failed = run_all(study, keys, arguments.workers, processes)
    finally:
        processes.stop()
    saved, spent = seconds_saved(read_runs([study.directory]))
    print(f"first rounds took {spent:.0f} s and were shared by all strategies, which saved {saved:.0f} s")
    for key, problem in failed.items():
        print(f"failed: {key}: {problem}", file=sys.stderr)
    if not arguments.no_report:
        try:
            print(f"report: {write_report([study.directory]) / 'report.html'}")
        except UserError as error:  # where everything failed there is nothing to report on
            if not failed:
                raise
            print(f"no report: {error}", file=sys.stderr)
    return 1 if failed else 0


def interrupt(*_: object) -> NoReturn:
    """End as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    run_tool(main)
