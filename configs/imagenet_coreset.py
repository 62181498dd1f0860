"""Core-set (Sener & Savarese 2018) on ImageNet as in the VAAL paper's comparison.

python tools/train_al.py configs/imagenet_coreset.py
"""

from dataclasses import replace

from imagenet_vaal import config as base

from seg_al import CoreSet

config = replace(base, strategy=CoreSet())
