"""VAAL on CIFAR100 with a budget of 10 % a round.

    python tools/train_al.py configs/cifar100_budget10_vaal.py

10, 20, 30, 40 % of the images (paper, Fig. 5).
"""

from dataclasses import replace

from cifar100_vaal import config as base

config = replace(base, budget=5000, rounds=4)
