"""Strategies on drawn street scenes of which no two are alike: does uncertainty pay where nothing is redundant?

    python tools/run_study.py configs/streets_distinct_study.py --workers 2

As streets_study.py, but for the runs: each of the 400 frames is of another street.
"""

from dataclasses import replace

from streets_study import config as study

config = replace(
    study,
    name="",
    base=replace(study.base, dataset=replace(study.base.dataset, run_length=1, test=200)),
    strategies={name: study.strategies[name] for name in ("random", "entropy", "coreset", "vaal", "vaal_weak")},
    sequence="",
)
