"""Core-set (Sener & Savarese 2018) on BDD100K as in the VAAL paper's comparison.

python tools/train_al.py configs/bdd100k_coreset.py
"""

from dataclasses import replace

from bdd100k_vaal import config as base

from seg_al import CoreSet

config = replace(base, strategy=CoreSet())
