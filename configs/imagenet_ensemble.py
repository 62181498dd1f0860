"""Ensembles with variation ratio (Beluch et al. 2018) on ImageNet as in the VAAL paper's comparison.

python tools/train_al.py configs/imagenet_ensemble.py
"""

from dataclasses import replace

from imagenet_vaal import config as base

from seg_al import VariationRatio

config = replace(base, strategy=VariationRatio(members=5))
