"""VAAL on CIFAR100 from a start without 10 of the classes.

    python tools/train_al.py configs/cifar100_biased_vaal.py

The classes are chosen at random by the seed (paper, Fig. 5; 20 of them: --initial.classes 20
--name cifar100_biased20_vaal).
"""

from dataclasses import replace

from cifar100_vaal import config as base

from seg_al import MissingClasses

config = replace(base, initial=MissingClasses(size=5000, classes=10))
