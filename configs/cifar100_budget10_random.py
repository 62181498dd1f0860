"""Random sampling on CIFAR100 with a budget of 10 % a round.

python tools/train_al.py configs/cifar100_budget10_random.py
"""

from dataclasses import replace

from cifar100_budget10_vaal import config as base
from cifar100_random import config as plain

config = replace(base, strategy=plain.strategy)
