"""Core-set (Sener & Savarese 2018) on CIFAR10 as in the VAAL paper's comparison.

python tools/train_al.py configs/cifar10_coreset.py
"""

from dataclasses import replace

from cifar10_vaal import config as base

from seg_al import CoreSet

config = replace(base, strategy=CoreSet())
