"""Oracles: whose labels, how wrong, and that nothing but the seed and the sample decides it."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import binom
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import TinyScenes, tiny_experiment

from seg_al import VAAL, Entropy, IdealOracle, Random, Train, UserError
from seg_al.config import load
from seg_al.data.base import Dataset
from seg_al.data.cityscapes_classes import CITYSCAPES_CLASSES, CityscapesClasses
from seg_al.oracle import NoisyOracle
from seg_al.run_directory import RunDirectory

GROUPS = (("red", "green"),)


class Known:
    """Samples of given targets."""

    def __init__(self, targets: list, prefix: str = "train") -> None:
        self.targets, self.ids = targets, [f"{prefix}/{index:05d}" for index in range(len(targets))]

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> np.ndarray:
        raise AssertionError("a label has nothing to do with the image")

    def target(self, index: int) -> np.ndarray | None:
        return self.targets[index]


class Coarse(Dataset):
    """30 classes in 6 super-classes of 5, not in the order of the classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(f"class{k}" for k in range(30))

    @property
    def super_classes(self) -> tuple[int, ...]:
        return tuple(k % 6 for k in range(30))


IMAGES = Known([np.asarray(label, np.int64) for label in np.random.default_rng(0).integers(0, 30, 4000)])


def within(count: int, trials: int, rate: float) -> bool:
    """Tell whether `count` lies in the central 99.9 % of the binomial distribution."""
    low, high = binom.interval(0.999, trials, rate)
    return low <= count <= high


def read(oracle: NoisyOracle, dataset: Dataset, samples: Known, seed: int = 0) -> list[np.ndarray]:
    labels = oracle.labels(dataset, samples, seed)
    return [labels.target(index) for index in range(len(samples))]


# --- whole images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.3])
def test_labels_of_images_are_wrong_at_the_rate_and_stay_in_their_super_class(rate: float) -> None:
    noisy = read(NoisyOracle(rate=rate), Coarse(), IMAGES)
    assert all(label.shape == () and label.dtype == np.int64 for label in noisy)
    clean, noisy = np.array(IMAGES.targets), np.array(noisy)
    wrong = noisy != clean
    assert within(wrong.sum(), 4000, rate)
    assert (noisy % 6 == clean % 6).all()
    steps = np.bincount((noisy - clean)[wrong] // 6 % 5, minlength=5)  # to the next but k of the five siblings
    assert steps[0] == 0 and all(within(count, wrong.sum(), 0.25) for count in steps[1:]), "not each as likely"


def test_rates_0_and_1_are_exact() -> None:
    assert read(NoisyOracle(rate=0.0), Coarse(), IMAGES) == IMAGES.targets
    assert not (np.array(read(NoisyOracle(rate=1.0), Coarse(), IMAGES)) == np.array(IMAGES.targets)).any()


def test_noise_depends_on_seed_and_id_alone() -> None:
    noisy = read(NoisyOracle(rate=0.3), Coarse(), IMAGES)
    again = NoisyOracle(rate=0.3).labels(Coarse(), IMAGES, 0)
    order = np.random.default_rng(1).permutation(4000).tolist()
    assert [again.target(index) for index in order] == [noisy[index] for index in order], "order of asking"
    shuffled = Known([IMAGES.targets[index] for index in order])
    shuffled.ids = [IMAGES.ids[index] for index in order]
    assert read(NoisyOracle(rate=0.3), Coarse(), shuffled) == [noisy[index] for index in order], "place in the pool"
    clean = np.array(IMAGES.targets)
    wrong = np.array(noisy) != clean
    for other in (
        read(NoisyOracle(rate=0.3), Coarse(), IMAGES, seed=1),
        read(NoisyOracle(rate=0.3), Coarse(), Known(IMAGES.targets, "other")),
    ):
        assert within((wrong & (np.array(other) != clean)).sum(), 4000, 0.09), "not independent"


def test_what_is_wrong_at_one_rate_is_wrong_alike_at_higher_ones() -> None:
    clean = np.array(IMAGES.targets)
    rates = [np.array(read(NoisyOracle(rate=rate), Coarse(), IMAGES)) for rate in (0.1, 0.2, 0.9)]
    for lower, higher in itertools.pairwise(rates):
        wrong = lower != clean
        assert (higher[wrong] == lower[wrong]).all() and (higher != clean).sum() > wrong.sum()


def test_groups_by_name_leave_the_others_alone() -> None:
    noisy = np.array(
        read(NoisyOracle(rate=1.0, groups=(("class1", "class2", "class29"), ("class3",))), Coarse(), IMAGES)
    )
    clean = np.array(IMAGES.targets)
    grouped = np.isin(clean, (1, 2, 29))
    assert (noisy[~grouped] == clean[~grouped]).all()
    assert np.isin(noisy[grouped], (1, 2, 29)).all() and (noisy[grouped] != clean[grouped]).all()


def test_class_255_of_many_is_a_class_like_others() -> None:
    class Many(Coarse):
        @property
        def class_names(self) -> tuple[str, ...]:
            return tuple(f"class{k}" for k in range(400))

        @property
        def super_classes(self) -> tuple[int, ...]:
            return tuple(k // 2 for k in range(400))

    samples = Known([np.asarray(label, np.int64) for label in (254, 255, 399)])
    assert [int(label) for label in read(NoisyOracle(rate=1.0), Many(), samples)] == [255, 254, 398]


# --- masks -----------------------------------------------------------------------------------------------------------

CATEGORIES = [
    {"road", "sidewalk"}, {"building", "wall", "fence"}, {"pole", "traffic light", "traffic sign"},
    {"vegetation", "terrain"}, {"sky"}, {"person", "rider"},
    {"car", "truck", "bus", "train", "motorcycle", "bicycle"},
]  # fmt: skip


def random_masks(count: int = 12) -> Known:
    """Return masks of all 19 classes and void in blots and specks."""
    rng = np.random.default_rng(0)
    targets = []
    for _ in range(count):
        blots = rng.integers(0, 20, (12, 16)).repeat(4, 0).repeat(4, 1)
        specks = rng.random(blots.shape) < 0.03
        blots[specks] = rng.integers(0, 20, specks.sum())
        targets.append(np.where(blots == 19, 255, blots).astype(np.uint8))
    return Known(targets)


MASKS = random_masks()


def components(mask: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Return class and pixels of each 8-connected component; scipy's, not OpenCV's."""
    found = []
    for class_id in range(19):
        numbers, count = ndimage.label(mask == class_id, np.ones((3, 3)))
        found += [(class_id, numbers == number) for number in range(1, count + 1)]
    return found


@pytest.mark.parametrize("rate", [0.1, 0.3, 1.0])
def test_whole_components_take_a_sibling_of_their_category(rate: float) -> None:
    flips = total = 0
    for clean, noisy in zip(MASKS.targets, read(NoisyOracle(rate=rate), CityscapesClasses(), MASKS), strict=True):
        assert noisy.dtype == np.uint8 and noisy.shape == clean.shape
        assert ((noisy == 255) == (clean == 255)).all(), "void stays, and nothing becomes void"
        for class_id, pixels in components(clean):
            (label,) = np.unique(noisy[pixels])  # one label for the whole of it
            names = {CITYSCAPES_CLASSES[class_id], CITYSCAPES_CLASSES[label]}
            assert any(names <= category for category in CATEGORIES), names
            if names == {"sky"}:
                continue
            flips, total = flips + (label != class_id), total + 1
    assert total > 1500
    assert flips == total if rate == 1 else within(flips, total, rate)


def test_components_that_touch_at_a_corner_are_one() -> None:
    mask = np.full((6, 6), 255, np.uint8)
    mask[:2, :2] = mask[2:4, 2:4] = 13  # cars, touching at a corner
    mask[0, 5] = 13
    labels = np.array(read(NoisyOracle(rate=0.5), CityscapesClasses(), Known([mask] * 200)))
    assert (labels[:, 0, 0] == labels[:, 3, 3]).all()
    assert within(((labels[:, 0, 0] != 13) & (labels[:, 0, 5] != 13)).sum(), 200, 0.25), "apart, they are independent"


def test_the_data_sets_own_label_is_not_written_to() -> None:
    before = [mask.copy() for mask in MASKS.targets]
    read(NoisyOracle(rate=1.0), CityscapesClasses(), MASKS)
    assert all((mask == kept).all() for mask, kept in zip(MASKS.targets, before, strict=True))


def test_the_report_counts_what_is_wrong() -> None:
    labels = NoisyOracle(rate=0.3).labels(CityscapesClasses(), MASKS, 0)
    for chosen in ([0, 3], [0, 3, 7, 1]):  # the second adds to the first
        wrong = total = wrong_pixels = pixels = 0
        for index in chosen:
            clean, noisy = MASKS.targets[index], labels.target(index)
            for class_id, part in components(clean):
                wrong, total = wrong + (noisy[part][0] != class_id), total + 1
            wrong_pixels, pixels = wrong_pixels + (noisy != clean).sum(), pixels + (clean != 255).sum()
        assert labels.report(chosen) == {
            "oracle": {
                "noise_rate": pytest.approx(wrong / total, rel=1e-12),
                "wrong_pixels": pytest.approx(wrong_pixels / pixels, rel=1e-12),
            }
        }
    void = NoisyOracle(rate=0.3).labels(CityscapesClasses(), Known([np.full((3, 3), 255, np.uint8)]), 0)
    assert void.report([0]) == {"oracle": {"noise_rate": None, "wrong_pixels": None}}
    images = NoisyOracle(rate=0.3).labels(Coarse(), IMAGES, 0)
    share = np.mean([images.target(k) != IMAGES.targets[k] for k in range(1000)])
    assert images.report(range(1000))["oracle"] == {"noise_rate": share, "wrong_pixels": share}
    assert IdealOracle().labels(Coarse(), IMAGES, 0).report([1, 2]) == {}


def test_reports_read_a_label_once() -> None:
    reads: list[int] = []

    class Counting(Known):
        def target(self, index: int) -> np.ndarray | None:
            reads.append(index)
            return super().target(index)

    labels = NoisyOracle(rate=0.3).labels(CityscapesClasses(), Counting(MASKS.targets), 0)
    labels.report([1, 2])
    labels.report([1, 2, 5])
    assert sorted(reads) == [1, 2, 5]


def test_labels_go_to_loading_processes() -> None:
    labels = NoisyOracle(rate=0.3).labels(CityscapesClasses(), MASKS, 0)
    assert (pickle.loads(pickle.dumps(labels.target))(3) == labels.target(3)).all()


# --- runs ------------------------------------------------------------------------------------------------------------


def trained_on(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[np.ndarray]]:
    """Return what a run will have been given as labels, by sample id, and the splits it was measured on."""
    import seg_al.experiment as experiment

    given: dict[str, list[np.ndarray]] = {}
    original_fit, original_evaluate = experiment.fit, experiment.evaluate

    def fit(task, network, view, *rest):  # type: ignore[no-untyped-def]
        for index in view._indices.tolist():
            given.setdefault(view._samples.ids[index], []).append(view._read_target(index))
        return original_fit(task, network, view, *rest)

    def evaluate(task, network, dataset, samples, *rest):  # type: ignore[no-untyped-def]
        for index, name in enumerate(samples.ids):
            given.setdefault(name, []).append(samples.target(index))
        return original_evaluate(task, network, dataset, samples, *rest)

    monkeypatch.setattr(experiment, "fit", fit)
    monkeypatch.setattr(experiment, "evaluate", evaluate)
    return given


def test_strategies_meet_the_same_noise_and_val_and_test_are_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = trained_on(monkeypatch)
    train = Train(epochs=1, batch_size=4, lr=1e-2, keep="best")
    for strategy in (Random(), Entropy()):
        settings = {"name": type(strategy).__name__, "strategy": strategy, "train": train, "rounds": 2}
        tiny_experiment(tmp_path, oracle=NoisyOracle(rate=0.5, groups=GROUPS), **settings).run()
    dataset = TinyScenes(size=(32, 32))
    assert any(len(labels) > 3 for name, labels in given.items() if name.startswith("train")), "no image in both runs"
    wrong = 0
    for split in ("train", "val", "test"):
        samples = dataset.samples(split)  # type: ignore[arg-type]
        for index, name in enumerate(samples.ids):
            labels = given.get(name, [])
            assert all((label == labels[0]).all() for label in labels)
            if split == "train" and labels:
                wrong += (labels[0] != samples.target(index)).any()
            else:
                assert all((label == samples.target(index)).all() for label in labels)
    assert wrong > 3 and all(name in given for name in ("val/000", "test/000"))


class Killed(BaseException):
    pass


def test_the_rate_is_logged_and_a_run_that_goes_on_meets_the_same_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = NoisyOracle(rate=0.4, groups=GROUPS)
    settings = {"oracle": oracle, "rounds": 2, "strategy": VAAL(latent=4, epochs=1, batch_size=8)}
    whole = tiny_experiment(tmp_path / "whole", **settings).run()
    original = RunDirectory.write

    def write(self: RunDirectory, name: object, content: object) -> None:
        if str(name).endswith("01/labeled.txt"):
            raise Killed
        original(self, name, content)  # type: ignore[arg-type]

    monkeypatch.setattr(RunDirectory, "write", write)
    with pytest.raises(Killed):
        tiny_experiment(tmp_path / "killed", **settings).run()
    monkeypatch.setattr(RunDirectory, "write", original)
    killed = tiny_experiment(tmp_path / "killed", **settings).run()
    dataset = TinyScenes(size=(32, 32))
    samples = dataset.samples("train")
    labels = oracle.labels(dataset, samples, 0)
    rates = []
    for number in (0, 1):
        folder = whole / "rounds" / f"{number:02d}"
        ids = (folder / "labeled.txt").read_text().split()
        pairs = [(samples.target(index), labels.target(index)) for index in map(samples.ids.index, ids)]
        pixels = sum((clean != noisy).sum() for clean, noisy in pairs) / sum((clean != 255).sum() for clean, _ in pairs)
        measured = json.loads((folder / "metrics.json").read_text())
        assert measured["diagnostics"]["oracle"]["wrong_pixels"] == pytest.approx(pixels) and pixels > 0
        rates.append(measured["diagnostics"]["oracle"]["noise_rate"])
        again = json.loads((killed / "rounds" / f"{number:02d}" / "metrics.json").read_text())
        assert number == 1 or measured["diagnostics"]["vaal"]["latent"] == 4, "those of the strategy stand beside"
        assert again["diagnostics"] == measured["diagnostics"] and again["test"] == measured["test"]
        weights = [
            torch.load(run / "rounds" / f"{number:02d}" / "model.pt", weights_only=True) for run in (whole, killed)
        ]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    events = EventAccumulator(str(whole / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("oracle/noise_rate")] == pytest.approx(rates)


def test_a_config_with_groups_is_written_down_and_takes_overrides(tmp_path: Path) -> None:
    oracle = NoisyOracle(rate=0.4, groups=(("red", "green"), ("background",)))
    run = tiny_experiment(tmp_path, oracle=oracle, rounds=1).run()
    config = load(run / "config.py")
    assert config.oracle == oracle
    assert load(run / "config.py", ["--oracle.rate", "0.1"]).oracle == NoisyOracle(rate=0.1, groups=oracle.groups)


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [-0.1, 1.01, float("nan")])
def test_a_rate_is_a_probability(rate: float) -> None:
    with pytest.raises(UserError, match=r"NoisyOracle\.rate is a probability, from 0 to 1, not"):
        NoisyOracle(rate=rate)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (None, "TinyScenes does not group its classes; say which are taken for each other, as groups=(('background', "),
        ((("red", "gren"),), "NoisyOracle.groups: TinyScenes has no class 'gren'; did you mean 'green'?"),
        ((("red", "green"), ("red",)), "NoisyOracle.groups names 'red' more than once"),
        ((("red",), ("green",)), "every class is alone"),
        ((), "every class is alone"),
    ],
)
def test_groups_that_do_not_fit_leave_no_run_behind(tmp_path: Path, groups: tuple | None, message: str) -> None:
    with pytest.raises(UserError) as error:
        tiny_experiment(tmp_path, oracle=NoisyOracle(rate=0.1, groups=groups)).run()
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize("oracle", [IdealOracle(), NoisyOracle(rate=0.1)])
def test_a_sample_without_a_label_is_named(oracle: IdealOracle) -> None:
    labels = oracle.labels(Coarse(), Known([None]), 0)
    with pytest.raises(UserError, match="train/00000: was queried but has no label"):
        labels.target(0)
