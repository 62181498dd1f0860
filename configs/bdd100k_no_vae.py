"""Ablation of VAAL without a VAE: a discriminator on pixels (paper, Fig. 4), on BDD100K.

python tools/train_al.py configs/bdd100k_no_vae.py
"""

from dataclasses import replace

from bdd100k_vaal import config as base

from seg_al import DiscriminatorOnly

config = replace(base, strategy=DiscriminatorOnly.paper())
