"""MC-Dropout (Gorriz et al. 2017) on BDD100K as in the VAAL paper's comparison.

python tools/train_al.py configs/bdd100k_mc_dropout.py
"""

from dataclasses import replace

from bdd100k_vaal import config as base

from seg_al import MCDropout

config = replace(base, strategy=MCDropout(passes=10))
