"""VAAL on drawn street scenes.

python tools/train_al.py configs/streets_vaal.py
"""

from dataclasses import replace

from streets_random import config as base

from seg_al import VAAL

config = replace(base, strategy=VAAL(latent=32, epochs=10, batch_size=16, size=(96, 128)))
