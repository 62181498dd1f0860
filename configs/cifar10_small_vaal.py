"""VAAL, with a VAE that stays alive, on a part of CIFAR10 that fits a CPU.

python tools/train_al.py configs/cifar10_small_vaal.py
"""

from dataclasses import replace

from cifar10_small_random import config as base

from seg_al import VAAL

config = replace(base, strategy=VAAL(latent=32, epochs=5, batch_size=32))
