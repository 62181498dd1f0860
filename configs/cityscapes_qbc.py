"""Query by committee (Kuo et al. 2018) on Cityscapes as in the VAAL paper's comparison.

python tools/train_al.py configs/cityscapes_qbc.py
"""

from dataclasses import replace

from cityscapes_vaal import config as base

from seg_al import QBC

config = replace(base, strategy=QBC(members=5))
