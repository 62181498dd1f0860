"""Random sampling on CIFAR100 from a start without 10 of the classes.

python tools/train_al.py configs/cifar100_biased_random.py
"""

from dataclasses import replace

from cifar100_biased_vaal import config as base
from cifar100_random import config as plain

config = replace(base, strategy=plain.strategy)
