"""DBAL (Gal et al. 2017) on Caltech-256 as in the VAAL paper's comparison.

python tools/train_al.py configs/caltech256_dbal.py
"""

from dataclasses import replace

from caltech256_vaal import config as base

from seg_al import DBAL

config = replace(base, strategy=DBAL(passes=10))
