"""Core-set (Sener & Savarese 2018) on CIFAR100 as in the VAAL paper's comparison.

python tools/train_al.py configs/cifar100_coreset.py
"""

from dataclasses import replace

from cifar100_vaal import config as base

from seg_al import CoreSet

config = replace(base, strategy=CoreSet())
