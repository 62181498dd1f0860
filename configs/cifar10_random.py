"""Random sampling on CIFAR10 as in the VAAL paper's comparison.

python tools/train_al.py configs/cifar10_random.py
"""

from dataclasses import replace

from cifar10_vaal import config as base

from seg_al import Random

config = replace(base, strategy=Random())
