"""Run one experiment: python tools/train_al.py configs/quickstart.py [--setting value ...]

On a run directory that holds an unfinished run of the same config, goes on with it.
"""

import sys

from seg_al.config import load, run_tool
from seg_al.experiment import Experiment


def main() -> int:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__, "\nSettings of a config: python tools/train_al.py CONFIG --help", sep="")
        return 0 if arguments else 2
    load(arguments[0], arguments[1:], Experiment).run()
    return 0


if __name__ == "__main__":
    run_tool(main)
