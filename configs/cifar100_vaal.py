"""VAAL on CIFAR100 as in the paper (Sinha et al., ICCV 2019); all but the data as for CIFAR10.

    python tools/train_al.py configs/cifar100_vaal.py

Needs CIFAR100 in ./cifar100 or $SEG_AL_DATA/cifar100; --dataset.download fetches it.
"""

from dataclasses import replace

from cifar10_vaal import config as base

from seg_al import CIFAR100

config = replace(base, dataset=CIFAR100(root="cifar100", val_images=5000))
