"""VAAL on CamVid with the objective of its authors' published code, whose VAE collapses: for comparison.

python tools/train_al.py configs/camvid_vaal_release.py
"""

from dataclasses import replace

from camvid_random import config as base

from seg_al import VAAL

config = replace(base, strategy=VAAL.release(latent=32, epochs=13, batch_size=16, size=(96, 128)))
