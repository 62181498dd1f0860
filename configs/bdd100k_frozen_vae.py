"""Ablation of VAAL with a VAE that is not trained: a discriminator on its latents (paper, Fig. 4), on BDD100K.

python tools/train_al.py configs/bdd100k_frozen_vae.py
"""

from dataclasses import replace

from bdd100k_vaal import config as base

from seg_al import FrozenVAE

config = replace(base, strategy=FrozenVAE.paper())
