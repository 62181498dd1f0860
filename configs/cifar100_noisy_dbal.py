"""DBAL on CIFAR100 from an oracle that mistakes 10 % of the labels.

python tools/train_al.py configs/cifar100_noisy_dbal.py
"""

from dataclasses import replace

from cifar100_dbal import config as plain
from cifar100_noisy_vaal import config as base

config = replace(base, strategy=plain.strategy)
