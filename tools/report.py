"""Report on runs, finished or going on: python tools/report.py runs/my_study

Runs may come from a study or from anywhere, as long as they follow the format. Writes report.html, report.md,
figures (SVG, PNG), tables (CSV, LaTeX) and what each run labeled (indices).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from seg_al.config import run_tool
from seg_al.reporting.report import write_report


def main() -> None:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=rest, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="studies, folders of seeds, or runs")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (<study>/report for one study)")
    parser.add_argument("--levels", nargs="+", type=float, default=[], metavar="SCORE", help="scores to reach, as 0.45")
    parser.add_argument("--sequence", default="", metavar="REGEX", help="names the sequence at the start of an id")
    parser.add_argument("--random", metavar="NAME", help="strategy to compare with, where none is called random")
    parser.add_argument("--title", default="", help="of the report")
    given = parser.parse_args()
    out = write_report(given.runs, given.out, given.title, given.random, given.levels, given.sequence)
    print(f"wrote {out / 'report.html'}")


if __name__ == "__main__":
    run_tool(main)
