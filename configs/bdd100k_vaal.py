"""VAAL on BDD100K (the 10K images with segmentation) as in the paper (Sinha et al., ICCV 2019).

    python tools/train_al.py configs/bdd100k_vaal.py

Needs BDD100K's images/10k and labels/sem_seg in ./bdd100k or in $SEG_AL_DATA/bdd100k, and a GPU.
"""

from dataclasses import replace

from cityscapes_vaal import config as base

from seg_al import BDD100K

config = replace(
    base,
    # The paper's Table 2 says 7000 + 1000 train and val and 2000 test, but the official labeled images are 7000 + 1000.
    # So here test = the official val (1000), and 1000 of the 7000 are held out for validation.
    dataset=BDD100K(root="bdd100k", val_images=1000, size=(688, 688)),
    # 800 and 400, as printed: 10 % and 5 % of the 8000
    initial=800,
    budget=400,
)
