"""MC-Dropout (Gal & Ghahramani 2016) on CIFAR100 as in the VAAL paper's comparison.

python tools/train_al.py configs/cifar100_mc_dropout.py
"""

from dataclasses import replace

from cifar100_vaal import config as base

from seg_al import MCDropout

config = replace(base, strategy=MCDropout(passes=10, statistic="deviation"))
