"""Random sampling on drawn street scenes, at a size where strategies can differ; needs no data.

    python tools/train_al.py configs/streets_random.py

The pool holds 200 runs of 5 near-duplicate frames, with rare classes and rare weather: what is chosen matters.
"""

from seg_al import SMP, Experiment, Random, Streets, Train

config = Experiment(
    dataset=Streets(train=1000, val=100, test=200, native=(192, 256), size=(192, 256)),
    model=SMP(arch="fpn", encoder="tu-tf_efficientnet_lite0", weights="lite0"),
    strategy=Random(),
    initial=50,
    budget=50,
    rounds=7,
    train=Train(epochs=4, epoch_of="pool", batch_size=8, optimizer="adamw", lr=1e-3, schedule="one_cycle"),
)
