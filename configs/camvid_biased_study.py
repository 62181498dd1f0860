"""A biased start on CamVid: the first labeled images come from one video alone, 0001TP, filmed at dusk.

    python tools/run_study.py configs/camvid_biased_study.py --workers 2

Needs what camvid_study.py needs, and about an hour of two CPU cores. Besides mIoU the report shows how much of
each query comes from videos that were not labeled before.
"""

from dataclasses import replace

from camvid_study import config as study

from seg_al import LeaveOut

config = replace(
    study,
    name="",
    # 12 of the 62 frames of 0001TP, none of the 305 of the other two videos
    base=replace(study.base, initial=LeaveOut(size=12, groups=("0006R0", "0016E5")), rounds=4),
    strategies={name: study.strategies[name] for name in ("random", "entropy", "coreset", "vaal")},
    full=False,
)
