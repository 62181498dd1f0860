"""Ensembles with variation ratio on CIFAR100 with ResNet18 as the task model.

python tools/train_al.py configs/cifar100_resnet18_ensemble.py
"""

from dataclasses import replace

from cifar100_ensemble import config as plain
from cifar100_resnet18_vaal import config as base

config = replace(base, strategy=plain.strategy)
