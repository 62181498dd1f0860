"""Core-set on a part of CIFAR10 that fits a CPU.

python tools/train_al.py configs/cifar10_small_coreset.py
"""

from dataclasses import replace

from cifar10_small_random import config as base

from seg_al import CoreSet

config = replace(base, strategy=CoreSet())
