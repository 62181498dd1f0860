"""Entropy on drawn street scenes.

python tools/train_al.py configs/streets_entropy.py
"""

from dataclasses import replace

from streets_random import config as base

from seg_al import Entropy

config = replace(base, strategy=Entropy())
