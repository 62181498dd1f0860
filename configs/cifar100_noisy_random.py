"""Random sampling on CIFAR100 from an oracle that mistakes 10 % of the labels.

python tools/train_al.py configs/cifar100_noisy_random.py
"""

from dataclasses import replace

from cifar100_noisy_vaal import config as base
from cifar100_random import config as plain

config = replace(base, strategy=plain.strategy)
