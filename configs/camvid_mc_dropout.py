"""MC-Dropout (Gorriz et al. 2017) on CamVid.

python tools/train_al.py configs/camvid_mc_dropout.py
"""

from dataclasses import replace

from camvid_random import config as base

from seg_al import MCDropout

config = replace(base, strategy=MCDropout(passes=10))
