"""MC-Dropout on CIFAR100 from a start without 10 of the classes.

python tools/train_al.py configs/cifar100_biased_mc_dropout.py
"""

from dataclasses import replace

from cifar100_biased_vaal import config as base
from cifar100_mc_dropout import config as plain

config = replace(base, strategy=plain.strategy)
