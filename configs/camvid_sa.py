"""Suggestive annotation (Yang et al. 2017) on CamVid.

python tools/train_al.py configs/camvid_sa.py
"""

from dataclasses import replace

from camvid_random import config as base

from seg_al import SuggestiveAnnotation

config = replace(base, strategy=SuggestiveAnnotation(members=5))
