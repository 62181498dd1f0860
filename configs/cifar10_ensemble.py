"""Ensembles with variation ratio (Beluch et al. 2018) on CIFAR10 as in the VAAL paper's comparison.

python tools/train_al.py configs/cifar10_ensemble.py
"""

from dataclasses import replace

from cifar10_vaal import config as base

from seg_al import VariationRatio

config = replace(base, strategy=VariationRatio(members=5))
