"""A biased start on drawn street scenes: the first labeled images show no night, snow or fog. Does VAAL pay?

    python tools/run_study.py configs/streets_biased_study.py --workers 2

As streets_distinct_study.py, but for the start: what it lacks is a quarter of the pool, and plain to see.
"""

from dataclasses import replace

import numpy as np
from streets_distinct_study import config as study

from seg_al.data.base import Dataset, Samples
from seg_al.pool import InitialPool, drawn_without


class FairWeather(InitialPool):
    """No frame by night, in snow or in fog; otherwise uniform."""

    size: int
    """Number of samples."""

    def choose(self, dataset: Dataset, samples: Samples, seed: int) -> list[int]:
        out = np.array([samples.rough(index) for index in range(len(samples))])
        return drawn_without(out, ["night", "snow", "fog"], self.size, seed)


config = replace(study, name="", base=replace(study.base, initial=FairWeather(size=20)), full=False)
