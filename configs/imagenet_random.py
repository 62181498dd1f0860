"""Random sampling on ImageNet as in the VAAL paper's comparison.

python tools/train_al.py configs/imagenet_random.py
"""

from dataclasses import replace

from imagenet_vaal import config as base

from seg_al import Random

config = replace(base, strategy=Random())
