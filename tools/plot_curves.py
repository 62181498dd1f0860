"""Draw the curves of finished runs in one figure, and print their values as a Markdown table.

    python tools/plot_curves.py runs/camvid_random runs/camvid_vaal --out docs/camvid.png --title CamVid

Each argument is a run (a folder with curve.csv) or a folder of its seeds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seg_al.config import UserError
from seg_al.reporting.curves import markdown_table, plot_curves, run_name, save_figure


def main() -> None:
    summary, _, example = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=example, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run, or a folder of its seeds")
    parser.add_argument("--out", type=Path, help="PNG to write")
    parser.add_argument("--title", help="line above the figure")
    parser.add_argument("--full-data", type=float, help="score with the whole pool labeled, in [0, 1]: a level line")
    arguments = parser.parse_args()
    runs = by_label(arguments.runs)
    if arguments.out:
        if arguments.out.suffix.lower() != ".png":
            raise UserError(f"--out must be a .png, not {arguments.out}")
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        save_figure(plot_curves(runs, arguments.title, full_data=arguments.full_data), arguments.out)
    print(markdown_table(runs))


def by_label(folders: list[Path]) -> dict[str, list[Path]]:
    """Find the runs in the folders; seeds of one experiment share a label, its folder's name."""
    experiments: dict[Path, list[Path]] = {}
    for folder in (folder.resolve() for folder in folders):
        if (folder / "curve.csv").is_file():
            home, runs = (folder if run_name(folder) == folder.name else folder.parent), [folder]
        else:
            home, runs = folder, sorted(file.parent for file in folder.glob("seed*/curve.csv"))
        if not runs:
            raise UserError(f"{folder} has no curve.csv, nor has a seed* folder in it; give a run or a folder of seeds")
        known = experiments.setdefault(home, [])
        known.extend(run for run in runs if run not in known)
    names = [home.name for home in experiments]
    return {
        home.name if names.count(home.name) == 1 else f"{home.parent.name}/{home.name}": runs
        for home, runs in experiments.items()
    }


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
