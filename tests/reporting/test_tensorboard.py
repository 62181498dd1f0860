"""What TensorBoard itself reads back from a run's event files."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from seg_al.reporting.tensorboard import RunWriter


def metrics(miou: float) -> dict:
    return {"test": {"mIoU": miou}}


def read(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "histograms": 0})
    return events.Reload()


def scalars(run: Path, tag: str) -> list[tuple[int, float]]:
    # sorted: event files opened by one process within one second are read in no particular order
    return sorted((event.step, round(event.value, 4)) for event in read(run).Scalars(tag))


def test_round_metrics_by_number_of_labeled_images(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.round_metrics(
            40,
            {
                "round": 0,
                "labeled": 40,
                "test": {"mIoU": 0.42, "IoU": {"road": 0.9, "bus": None, "car": math.nan, "vélo": 0.25}},
                "seconds": {"train": 12.5, "select": 0},
                "diagnostics": {
                    "vaal": {"active_units": 32, "kl_per_dim": [0.1, 0.2, None, 3.0], "preset": "default"},
                    "pool_entropy": np.float32(0.5),
                    "empty": [],
                    "names": ["a", "b"],
                    "diverged": math.inf,
                },
            },
        )
    tags = read(tmp_path).Tags()
    assert set(tags["scalars"]) == {
        "test/mIoU",
        "test/IoU/road",
        "test/IoU/vélo",
        "seconds/train",
        "seconds/select",
        "vaal/active_units",
        "pool_entropy",
    }
    assert tags["histograms"] == ["vaal/kl_per_dim"]
    assert scalars(tmp_path, "test/mIoU") == [(40, 0.42)]
    assert scalars(tmp_path, "vaal/active_units") == [(40, 32)]
    histogram = read(tmp_path).Histograms("vaal/kl_per_dim")[0]
    assert (histogram.step, histogram.histogram_value.num, histogram.histogram_value.max) == (40, 3, 3.0)


def test_a_finished_round_is_on_disk_before_close(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.round_metrics(40, metrics(0.4))
    writer.image("queried", np.zeros((4, 4, 3), np.uint8), 40)
    assert scalars(tmp_path, "test/mIoU") == [(40, 0.4)]
    assert len(read(tmp_path).Images("queried")) == 1
    writer.close()


def test_two_runs_show_as_two_curves_of_one_tag(tmp_path: Path) -> None:
    for name in ("random", "vaal"):
        with RunWriter(tmp_path / name / "seed0") as writer:
            writer.epoch("train", {"loss": 1.0}, 1)
            writer.round_metrics(40, metrics(0.4))
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload().Runs()
    assert set(runs) == {"random/seed0/tensorboard", "vaal/seed0/tensorboard"}
    assert all("test/mIoU" in tags["scalars"] for tags in runs.values())


def test_an_image_comes_back_as_written(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    with RunWriter(tmp_path) as writer:
        writer.image("queried", rgb, 40)
    (event,) = read(tmp_path).Images("queried")
    decoded = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert event.step == 40 and np.array_equal(decoded[..., ::-1], rgb)


def test_epochs_must_keep_to_their_axis(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.epoch("train/vaal", {"loss": 2.0, "kl": math.nan}, 3)
        with pytest.raises(ValueError, match="train/vaal"):
            writer.epoch("vaal", {"loss": 2.0}, 3)
    assert scalars(tmp_path, "train/vaal/loss") == [(3, 2.0)]
    assert read(tmp_path).Tags()["scalars"] == ["train/vaal/loss"]


def interrupted(run: Path) -> None:
    """Two rounds of 50 epochs; the second is written in full, then the process dies in the middle of a write."""
    writer = RunWriter(run)
    for number, labeled in enumerate((40, 80)):
        for epoch in range(50 * number, 50 * number + 50):
            writer.epoch("train", {"loss": 0.5}, epoch)
        writer.round_metrics(labeled, metrics(0.5) | {"diagnostics": {"vaal": {"kl": [1.0, 2.0]}}})
        writer.image("queried", np.zeros((4, 4, 3), np.uint8), labeled)
    writer.close()
    (file,) = (run / "tensorboard").glob("*tfevents*")
    file.write_bytes(file.read_bytes()[:-7])


def test_a_repeated_round_replaces_what_was_written(tmp_path: Path) -> None:
    interrupted(tmp_path)
    with RunWriter(tmp_path, purge_step=80) as writer:
        for epoch in range(70, 100):  # training went on from the checkpoint after epoch 69
            writer.epoch("train", {"loss": 0.25}, epoch)
        writer.round_metrics(80, metrics(0.6))
    assert scalars(tmp_path, "test/mIoU") == [(40, 0.5), (80, 0.6)]
    # epochs have their own axis: 80 labeled images say nothing of epoch 80
    expected = [(epoch, 0.5) for epoch in range(70)] + [(epoch, 0.25) for epoch in range(70, 100)]
    assert scalars(tmp_path, "train/loss") == expected
    assert [event.step for event in read(tmp_path).Histograms("vaal/kl")] == [40]
    assert [event.step for event in read(tmp_path).Images("queried")] == [40]


def test_repeated_epochs_of_one_model_leave_the_others_alone(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        for epoch in range(4):
            writer.epoch("train", {"loss": 1.0}, epoch)
            writer.epoch("train/vaal", {"loss": 2.0}, epoch)
    with RunWriter(tmp_path, purge_step=0) as writer:
        writer.epoch("train", {"loss": 3.0}, 2)
    assert scalars(tmp_path, "train/loss") == [(0, 1.0), (1, 1.0), (2, 3.0)]
    assert scalars(tmp_path, "train/vaal/loss") == [(epoch, 2.0) for epoch in range(4)]


def test_purging_reaches_back_over_all_earlier_files(tmp_path: Path) -> None:
    for labeled in (40, 80, 120):  # every round its own process, so its own file
        with RunWriter(tmp_path) as writer:
            writer.round_metrics(labeled, metrics(0.1))
    for _ in range(2):  # the repetition is itself interrupted and repeated
        with RunWriter(tmp_path, purge_step=80) as writer:
            writer.round_metrics(80, metrics(0.2))
    assert scalars(tmp_path, "test/mIoU") == [(40, 0.1), (80, 0.2)]
    assert all("tfevents" in path.name for path in (tmp_path / "tensorboard").iterdir())


def test_without_a_purge_earlier_files_are_not_touched(tmp_path: Path) -> None:
    interrupted(tmp_path)
    (file,) = (tmp_path / "tensorboard").iterdir()
    before = file.read_bytes()
    RunWriter(tmp_path).close()
    RunWriter(tmp_path, purge_step=1000).close()
    assert file.read_bytes() == before
