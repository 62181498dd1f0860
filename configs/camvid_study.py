"""Nine strategies on CamVid over six paired seeds.

    python tools/run_study.py configs/camvid_study.py --workers 2

Needs CamVid in ./camvid or $SEG_AL_DATA/camvid, and pip install -e ".[offline-weights]". Sizes, steps and committees
are chosen for two CPU cores, which take three hours; seeds come one after the other, so that a report on those
that are done can be had at any time: python tools/report.py runs/camvid_study
"""

from dataclasses import replace

from camvid_random import config as camvid

from seg_al import BADGE, QBC, VAAL, CamVid, CoreSet, Entropy, MCDropout, Random, Study, SuggestiveAnnotation, TypiClust

config = Study(
    # 12 to 60 of 367 images, 184 steps of 4 images a round: from more labels so short a training gains little
    base=replace(
        camvid,
        dataset=CamVid(root="camvid", size=(90, 120)),
        initial=12,
        budget=12,
        rounds=5,
        train=replace(camvid.train, epochs=2, batch_size=4),
    ),
    strategies={
        "random": Random(),
        "entropy": Entropy(),
        "coreset": CoreSet(),
        "mc_dropout": MCDropout(passes=10),
        "vaal": VAAL(latent=32, epochs=13, batch_size=16, size=(72, 96)),
        "badge": BADGE(),
        "typiclust": TypiClust(),
        "qbc": QBC(members=3),
        "suggestive_annotation": SuggestiveAnnotation(members=3),
    },
    seeds=(0, 1, 2, 3, 4, 5),
    full=True,
    sequence="[^_]*",
)
