"""VAAL on drawn street scenes, in about a minute on two cores; needs no data.

python tools/train_al.py configs/quickstart.py
"""

from seg_al import SMP, VAAL, Experiment, Streets, Train

config = Experiment(
    dataset=Streets(train=240, test=60, native=(96, 128), size=(96, 128)),
    model=SMP(arch="fpn", encoder="timm-tf_efficientnet_lite0"),
    strategy=VAAL(epochs=3),
    initial=24,
    budget=24,
    rounds=4,
    train=Train(epochs=3, epoch_of="pool", batch_size=8, optimizer="adamw", lr=2e-3, schedule="one_cycle"),
)
