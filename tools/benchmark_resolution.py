"""Uncertainty at the logits' own resolution against the input's: do they rank images alike, and what is saved?

    python tools/benchmark_resolution.py configs/camvid_random.py [--train.epochs 1]

Trains the config's model on its initial pool, then scores the unlabeled images both ways: all of them once, to compare
the rankings, and some of them in turns, to compare the time.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace

import torch
from scipy.stats import spearmanr

from seg_al import BALD, Entropy, Experiment, LeastConfidence, Margin, MCDropout, load
from seg_al.config import run_tool
from seg_al.data.views import ImageView
from seg_al.machine import Machine
from seg_al.pool import Pool
from seg_al.round import Round
from seg_al.run_directory import load_tensors
from seg_al.strategies.uncertainty import Uncertainty
from seg_al.streams import generator

REPEATS, TIMED = 3, 48


def main() -> int:
    """Print a line a strategy: Spearman's correlation of the two scores, overlap of the queries, seconds."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0 if len(sys.argv) > 1 else 2
    experiment = load(sys.argv[1], sys.argv[2:], Experiment)
    samples = experiment.dataset.samples("train")
    with tempfile.TemporaryDirectory() as folder:
        path = replace(experiment, rounds=1, machine=Machine(output=folder)).run() / "rounds" / "00"
        weights = load_tensors(path / "model.pt")
        where = {name: index for index, name in enumerate(samples.ids)}
        labeled = [where[name] for name in (path / "labeled.txt").read_text().split("\n") if name]
    network = experiment.model.build(len(experiment.dataset.class_names)).eval().requires_grad_(False)
    network.load_state_dict(weights)
    pool = Pool(samples.ids, tuple(labeled))
    size = experiment.dataset.input_size
    labeled_view, unlabeled = (ImageView(samples.image, samples.ids, i, size) for i in (pool.labeled, pool.unlabeled))

    def scored(strategy: Uncertainty, view: ImageView) -> tuple[torch.Tensor, float]:
        made = Round(network, experiment.task, labeled_view, view, generator(0, "strategy"))
        start = time.perf_counter()
        scores = strategy.score(made)
        return scores, time.perf_counter() - start

    print(f"{len(unlabeled)} images of {size}, budget {experiment.budget}; time of {TIMED} of them, "
          f"{torch.get_num_threads()} threads, medians of {REPEATS}")  # fmt: skip
    print(f"{'strategy':17} {'Spearman':>8} {'same query':>10} {'logits s':>9} {'input s':>8} {'ratio':>6}")
    strategies = (Entropy(), LeastConfidence(), Margin(), MCDropout(), BALD())
    for own in strategies:
        at_input = replace(own, resolution="input")
        (a, _), (b, _) = scored(own, unlabeled), scored(at_input, unlabeled)
        same = len(set(a.topk(experiment.budget).indices.tolist()) & set(b.topk(experiment.budget).indices.tolist()))
        some = unlabeled.subset(range(min(TIMED, len(unlabeled))))
        pairs = [(scored(own, some)[1], scored(at_input, some)[1]) for _ in range(REPEATS)]
        times = [statistics.median(pair[k] for pair in pairs) for k in (0, 1)]
        ratio = statistics.median(slow / fast for fast, slow in pairs)
        print(f"{type(own).__name__:17} {spearmanr(a, b).statistic:8.4f} {same:5d} of {experiment.budget:3d} "
              f"{times[0]:8.2f} {times[1]:8.2f} {ratio:6.2f}", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    run_tool(main)
