"""VAAL on CIFAR100 from an oracle that mistakes 10 % of the labels.

    python tools/train_al.py configs/cifar100_noisy_vaal.py

A wrong label is another class of the same super-class (paper, Fig. 5; 20 and 30 %: --oracle.rate 0.2
--name cifar100_noisy20_vaal).
"""

from dataclasses import replace

from cifar100_vaal import config as base

from seg_al import NoisyOracle

config = replace(base, oracle=NoisyOracle(rate=0.1))
