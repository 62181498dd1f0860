"""Ablation of VAAL without a discriminator: distance in the latent space (paper, Fig. 4), on BDD100K.

python tools/train_al.py configs/bdd100k_no_discriminator.py
"""

from dataclasses import replace

from bdd100k_vaal import config as base

from seg_al import WassersteinVAE

config = replace(base, strategy=WassersteinVAE.paper())
