"""VAAL on CIFAR100 with ResNet18 as the task model.

    python tools/train_al.py configs/cifar100_resnet18_vaal.py

The rest as with VGG16 (paper, Fig. 6).
"""

from dataclasses import replace

from cifar100_vaal import config as base

from seg_al import ResNet

config = replace(base, model=ResNet(arch="resnet18"))
