"""DBAL (Gal et al. 2017) on ImageNet as in the VAAL paper's comparison.

python tools/train_al.py configs/imagenet_dbal.py
"""

from dataclasses import replace

from imagenet_vaal import config as base

from seg_al import DBAL

config = replace(base, strategy=DBAL(passes=10))
