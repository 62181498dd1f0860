"""Entropy on a part of CIFAR10 that fits a CPU.

python tools/train_al.py configs/cifar10_small_entropy.py
"""

from dataclasses import replace

from cifar10_small_random import config as base

from seg_al import Entropy

config = replace(base, strategy=Entropy())
