"""VAAL on CamVid, with a VAE that stays alive.

python tools/train_al.py configs/camvid_vaal.py
"""

from dataclasses import replace

from camvid_random import config as base

from seg_al import VAAL

# 23 steps an epoch, 299 in all, on images of a quarter of the original's area
config = replace(base, strategy=VAAL(latent=32, epochs=13, batch_size=16, size=(96, 128)))
