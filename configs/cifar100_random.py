"""Random sampling on CIFAR100 as in the VAAL paper's comparison.

python tools/train_al.py configs/cifar100_random.py
"""

from dataclasses import replace

from cifar100_vaal import config as base

from seg_al import Random

config = replace(base, strategy=Random())
