"""Random sampling on Caltech-256 as in the VAAL paper's comparison.

python tools/train_al.py configs/caltech256_random.py
"""

from dataclasses import replace

from caltech256_vaal import config as base

from seg_al import Random

config = replace(base, strategy=Random())
