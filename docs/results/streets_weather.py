"""A Streets study by weather: night, snow and fog in the queries, and mIoU on test frames with and without them.

    python docs/results/streets_weather.py configs/streets_biased_study.py

Evaluates the model of every round of the study's runs again, two seconds each, and writes Markdown.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from seg_al import load
from seg_al.data.streets import StreetSamples
from seg_al.data.views import EvaluationView, to_input
from seg_al.metrics import ConfusionMatrix
from seg_al.reporting.reading import read_run
from seg_al.reporting.runs import FIRST, FULL
from seg_al.reporting.statistics import aubc, holm, mean_band, paired_difference
from seg_al.reporting.tables import interval, markdown
from seg_al.run_directory import load_tensors


def rough(samples: StreetSamples) -> np.ndarray:
    """Return which frames are by night, in snow or in fog, (N,) bool."""
    return np.array([samples.rough(i) for i in range(len(samples))])


class Judge:
    """Measures saved models on both parts of the test split."""

    def __init__(self, study) -> None:
        self.base, self.dataset = study.base, study.base.dataset
        samples = self.dataset.samples("test")
        view = EvaluationView(self.dataset, samples)
        self.images, self.targets = map(torch.stack, zip(*(view[i] for i in range(len(view))), strict=True))
        bad = rough(samples)
        self.parts = {"rough": bad, "fair": ~bad}

    def miou(self, weights: Path) -> dict[str, float]:
        classes = len(self.dataset.class_names)
        network = self.base.model.build(classes)
        network.load_state_dict(load_tensors(weights))
        network.eval().requires_grad_(False)
        size = self.targets.shape[1:]
        batches = [self.base.task.predict(network, to_input(b, "cpu"), size) for b in self.images.split(50)]
        predicted, scores = torch.cat(batches), {}
        for name, part in self.parts.items():
            metric = ConfusionMatrix(classes)
            metric.update(predicted[part], self.targets[part])
            scores[name] = metric.mean_iou
        return scores


def main(config: str) -> None:
    study = load(config)
    judge, pool = Judge(study), study.base.dataset.samples("train")
    is_rough = dict(zip(pool.ids, rough(pool), strict=True))
    rows = []
    for key in study.keys():
        if key.name in (FIRST, FULL):
            continue
        run = read_run(study.experiment(key).directory)
        for round in run.rounds:
            share = np.mean([is_rough[name] for name in round.query.ids]) if round.query else np.nan
            scores = judge.miou(run.path / "rounds" / f"{round.number:02d}" / "model.pt")
            rows.append(
                {"strategy": key.name, "seed": key.seed, "labeled": len(round.labeled), "share": share, **scores}
            )
    table = pd.DataFrame(rows)

    def of(strategy: str, column: str) -> np.ndarray:  # (seeds, rounds)
        return table[table.strategy == strategy].pivot(index="seed", columns="labeled", values=column).to_numpy()

    budgets = sorted(table.labeled.unique())
    print(f"{100 * np.mean(list(is_rough.values())):.0f} % of the pool is by night, in snow or in fog, ", end="")
    print(f"and {judge.parts['rough'].sum()} of {len(judge.images)} test frames.\n")
    shares = []
    for name in study.strategies:
        cells = [f"{100 * share:.0f} %" for share in of(name, "share").mean(0)]
        shares.append({"share of a query, at": name, **dict(zip(map(str, budgets), cells, strict=True))})
    print(markdown(pd.DataFrame(shares).drop(columns=str(budgets[-1]))))
    for column in judge.parts:
        areas = {name: aubc(budgets, of(name, column)) for name in study.strategies}
        beyond = {name: paired_difference(areas[name], areas["random"]) for name in areas if name != "random"}
        p = dict(zip(beyond, holm([d.p for d in beyond.values()]), strict=True))
        lines = []
        for name in areas:
            band, area = mean_band(of(name, column)), mean_band(areas[name][:, None])
            cells = {str(b): interval(*x) for b, *x in zip(budgets, band.mean, band.low, band.high, strict=True)}
            line = {f"{column} test frames": name, **cells, "AUBC": interval(*(x[0] for x in area[:3]))}
            d = beyond.get(name)
            line["− random"] = interval(d.mean, d.low, d.high, sign=True) if d else "–"
            lines.append({**line, "p (Holm)": f"{p[name]:.3f}" if d else "–"})
        print(markdown(pd.DataFrame(lines)))


if __name__ == "__main__":
    main(sys.argv[1])
