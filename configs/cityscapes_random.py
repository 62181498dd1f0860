"""Random sampling on Cityscapes as in the VAAL paper's comparison.

python tools/train_al.py configs/cityscapes_random.py
"""

from dataclasses import replace

from cityscapes_vaal import config as base

from seg_al import Random

config = replace(base, strategy=Random())
