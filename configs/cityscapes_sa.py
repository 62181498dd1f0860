"""Suggestive annotation (Yang et al. 2017) on Cityscapes as in the VAAL paper's comparison.

python tools/train_al.py configs/cityscapes_sa.py
"""

from dataclasses import replace

from cityscapes_vaal import config as base

from seg_al import SuggestiveAnnotation

config = replace(base, strategy=SuggestiveAnnotation(members=5))
