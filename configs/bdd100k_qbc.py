"""Query by committee (Kuo et al. 2018) on BDD100K as in the VAAL paper's comparison.

python tools/train_al.py configs/bdd100k_qbc.py
"""

from dataclasses import replace

from bdd100k_vaal import config as base

from seg_al import QBC

config = replace(base, strategy=QBC(members=5))
