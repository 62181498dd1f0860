"""Confusion matrices on disk and as pictures, and in a run of either task."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from class_trees import write_tree
from PIL import Image
from sklearn.metrics import confusion_matrix
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import TinyClassifier, tiny_experiment

from seg_al import Classification, FolderClassification, UserError
from seg_al.data.views import EvaluationView, to_input
from seg_al.reporting.confusion import confusion_table, plot_confusion, read_confusion

COUNTS = np.array([[5, 0, 1], [0, 0, 0], [2, 3, 10**12]])
NAMES = ("a, b", 'quoted "c"', "straße")


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "confusion.csv"
    file.write_text(confusion_table(COUNTS, NAMES), encoding="utf-8")
    counts, names = read_confusion(file)
    np.testing.assert_array_equal(counts, COUNTS)
    assert tuple(names) == NAMES


@pytest.mark.parametrize("text", [None, "", "x,a,b\na,1,2\n", "x,a\na,one\n"])
def test_what_is_no_table_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "confusion.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=r"confusion\.csv"):
        read_confusion(file)


@pytest.mark.parametrize("classes", [2, 19, 40, 100])
def test_the_picture_shows_shares_of_the_ground_truth(classes: int) -> None:
    right, wrong = np.eye(classes, dtype=int) * 7, np.roll(np.eye(classes, dtype=int), 1, axis=1) * 7
    names = [f"$class {k}" for k in range(classes)]
    dark = [(plot_confusion(matrix, names).astype(int).sum(2) < 350) for matrix in (right, wrong, 1000 * right)]
    assert dark[0].sum() > 500 and (dark[0] != dark[1]).sum() > 500
    np.testing.assert_array_equal(dark[0], dark[2])  # shares, not counts


def test_a_run_leaves_the_matrix_of_each_round(tmp_path: Path) -> None:
    write_tree(tmp_path / "data", {"ant": 20, "bee": 16, "cat": 12})
    dataset = FolderClassification(root=tmp_path / "data", size=(16, 16))
    experiment = tiny_experiment(
        tmp_path, dataset=dataset, model=TinyClassifier(), task=Classification(), initial=6, budget=2, rounds=2
    )
    run = experiment.run()
    view = EvaluationView(dataset, dataset.samples("test"))
    images, truth = (torch.stack(part) for part in zip(*(view[i] for i in range(len(view))), strict=True))
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
    shown = {event.step: event.encoded_image_string for event in events.Images("test/confusion")}
    for number, labeled in ((0, 6), (1, 8)):
        network = experiment.model.build(3).eval()
        network.load_state_dict(torch.load(run / f"rounds/0{number}/model.pt", weights_only=True))
        with torch.no_grad():
            predicted = network(to_input(images, "cpu")).argmax(1)
        counts, names = read_confusion(run / f"rounds/0{number}/confusion.csv")
        np.testing.assert_array_equal(counts, confusion_matrix(truth, predicted, labels=[0, 1, 2]))
        assert names == ["ant", "bee", "cat"]
        picture = np.asarray(Image.open(io.BytesIO(shown[labeled])))
        np.testing.assert_array_equal(picture, plot_confusion(counts, names))
