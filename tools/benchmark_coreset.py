"""Time of greedy k-center, lazy against a scan of the whole pool for each pick, and of Core-set beside the floor.

    python tools/benchmark_coreset.py [--points 40000 --dimensions 512 --labeled 4000 --picks 2500]
    python tools/benchmark_coreset.py --imagenet [--dimensions 512]

The scan is the fast one of textbooks: distances as matrix products in single precision, on centered features, without
the share of Python or memory that an exact one would need. Both start with the labeled points' distances.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import torch
import torchvision
import tyro
from torch import Tensor

from seg_al.config import run_tool
from seg_al.models.base import Normalize
from seg_al.strategies.kcenter import ROWS, Euclidean, LazyGreedy
