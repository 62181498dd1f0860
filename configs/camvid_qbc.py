"""Query by committee (Kuo et al. 2018) on CamVid.

python tools/train_al.py configs/camvid_qbc.py
"""

from dataclasses import replace

from camvid_random import config as base

from seg_al import QBC

config = replace(base, strategy=QBC(members=5))
