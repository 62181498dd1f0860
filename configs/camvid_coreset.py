"""Core-set (Sener & Savarese 2018) on CamVid.

python tools/train_al.py configs/camvid_coreset.py
"""

from dataclasses import replace

from camvid_random import config as base

from seg_al import CoreSet

config = replace(base, strategy=CoreSet())
