"""DBAL (Gal et al. 2017) on CIFAR10 as in the VAAL paper's comparison.

python tools/train_al.py configs/cifar10_dbal.py
"""

from dataclasses import replace

from cifar10_vaal import config as base

from seg_al import DBAL

config = replace(base, strategy=DBAL(passes=10))
