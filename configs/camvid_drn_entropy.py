"""Entropy on CamVid with the paper's task model, DRN-D-22, from random weights at a size that fits a CPU.

python tools/train_al.py configs/camvid_drn_entropy.py
"""

from dataclasses import replace

from camvid_entropy import config as base

from seg_al import DRN, CamVid

config = replace(base, dataset=CamVid(root="camvid", size=(90, 120)), model=DRN(arch="drn_d_22"), rounds=4)
