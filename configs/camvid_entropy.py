"""Entropy on CamVid.

python tools/train_al.py configs/camvid_entropy.py
"""

from dataclasses import replace

from camvid_random import config as base

from seg_al import Entropy

config = replace(base, strategy=Entropy())
