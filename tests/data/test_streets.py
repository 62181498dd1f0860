"""Streets: what a simulation relies on - fixed frames, all classes with a long tail, runs of near-duplicates."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest

from seg_al.config import UserError
from seg_al.data.cityscapes_classes import CITYSCAPES_CLASSES, CITYSCAPES_PALETTE
from seg_al.data.streets import Streets, StreetSamples

SMALL = (48, 64)


@pytest.fixture(scope="module")
def presence() -> dict[str, np.ndarray]:
    """Per split of the default configuration, in which frames each class is seen, (N, 19) bool."""
    found = {}
    for split in ("train", "test"):
        samples = Streets(native=(96, 128)).samples(split)
        masks = [samples.target(i) for i in range(len(samples))]
        found[split] = np.array([np.bincount(mask.ravel(), minlength=256)[:19] > 0 for mask in masks])
    return found


def test_classes_are_those_of_cityscapes() -> None:
    assert len(CITYSCAPES_CLASSES) == len(set(CITYSCAPES_CLASSES)) == 19
    by_name = dict(zip(CITYSCAPES_CLASSES, CITYSCAPES_PALETTE.tolist(), strict=True))
    assert by_name["road"] == [128, 64, 128]
    assert by_name["sky"] == [70, 130, 180]
    assert by_name["bicycle"] == [119, 11, 32]
    with pytest.raises(ValueError, match="read-only"):
        CITYSCAPES_PALETTE[0] = 0


@pytest.mark.parametrize("size", [(37, 53), (16, 200), (200, 16), (96, 128), (688, 688)])
def test_frames_of_any_size_hold_train_ids_and_ignore(size: tuple[int, int]) -> None:
    samples = Streets(train=12, native=size, run_length=1).samples("train")
    for i in range(0, 12, 3):
        image, target = samples.image(i), samples.target(i)
        assert image.shape == (*size, 3) and image.dtype == np.uint8
        assert target.shape == size and target.dtype == np.uint8
        assert set(np.unique(target)) <= {*range(19), 255}
        assert image.std() > 5


def test_a_frame_does_not_depend_on_what_was_read_before() -> None:
    forward, other = (Streets(native=SMALL).samples("train") for _ in range(2))
    images = {i: forward.image(i) for i in (0, 1, 7, 90)}
    targets = {
        i: forward.target(i) for i in (90, 7, 1, 0)
    }  # 90 comes from the image's drawing, the rest is drawn alone
    for i in (7, 90, 0, 1):
        assert np.array_equal(other.target(i), targets[i])
        assert np.array_equal(other.image(i), images[i])
        assert np.array_equal(other.target(i), targets[i])
    assert not np.array_equal(targets[0], targets[90])


def test_what_a_caller_does_to_an_array_stays_with_the_caller() -> None:
    samples = Streets(native=SMALL).samples("train")
    image = samples.image(0).copy()
    target = samples.target(0)
    before = target.copy()
    target[:] = 255
    samples.image(0)[:] = 0
    assert np.array_equal(samples.target(0), before)
    assert np.array_equal(samples.image(0), image)


def test_samples_survive_pickling_and_stay_small() -> None:
    samples = Streets(native=SMALL).samples("test")
    twin: StreetSamples = pickle.loads(pickle.dumps(samples))
    assert twin.ids == samples.ids
    assert np.array_equal(twin.image(3), samples.image(3))
    for i in range(len(samples)):
        samples.image(i)
    assert len(pickle.dumps(samples)) < 20_000  # what has been read is not kept


def test_other_numbers_of_frames_do_not_change_a_frame() -> None:
    few, many = (Streets(train=n, native=SMALL).samples("train") for n in (30, 300))
    assert few.ids == many.ids[:30]
    assert all(np.array_equal(few.image(i), many.image(i)) for i in (0, 14, 29))


def test_another_seed_is_another_world() -> None:
    first, second = (Streets(scene_seed=s, native=SMALL).samples("train") for s in (0, 1))
    assert not any(np.array_equal(first.target(i), second.target(i)) for i in range(0, 100, 5))


def test_every_class_is_in_train_and_in_test(presence: dict[str, np.ndarray]) -> None:
    for split, seen in presence.items():
        missing = [name for name, there in zip(CITYSCAPES_CLASSES, seen.any(0), strict=True) if not there]
        assert not missing, split


@pytest.mark.parametrize("scene_seed", [1, 2, 3])
def test_every_class_is_in_any_world(scene_seed: int) -> None:
    samples = Streets(scene_seed=scene_seed, native=(96, 128)).samples("test")
    seen = np.unique(np.concatenate([np.unique(samples.target(i)) for i in range(len(samples))]))
    assert set(range(19)) <= set(seen.tolist())


def test_classes_have_a_long_tail(presence: dict[str, np.ndarray]) -> None:
    share = dict(zip(CITYSCAPES_CLASSES, presence["train"].mean(0).tolist(), strict=True))
    for common in ("road", "sidewalk", "building", "vegetation", "sky", "car", "pole"):
        assert share[common] > 0.7, common
    for rare in ("wall", "bus", "train", "motorcycle"):
        assert 0 < share[rare] <= 0.05, rare
    for uncommon in ("rider", "truck", "bicycle", "fence"):
        assert 0.05 < share[uncommon] < 0.2, uncommon


def test_light_and_weather_are_skewed() -> None:
    samples = Streets(native=SMALL).samples("train")
    modes = Counter(samples.mode(i) for i in range(0, len(samples), 5))
    assert modes.most_common(1)[0][0] == ("day", "clear")
    times, weathers = Counter(), Counter()
    for (time, weather), n in modes.items():
        times[time] += n
        weathers[weather] += n
    assert times["day"] > 0.5 * 80 and 0 < times["night"] < 0.2 * 80
    assert set(weathers) == {"clear", "overcast", "rain", "snow", "fog"} and weathers["fog"] < 0.1 * 80


def test_night_is_dark_and_fog_hides_the_distance() -> None:
    samples = Streets(native=SMALL).samples("train")
    brightness: dict[str, list[float]] = {"day": [], "night": []}
    contrast: dict[str, list[float]] = {"clear": [], "fog": []}
    for i in range(0, len(samples), 5):
        time, weather = samples.mode(i)
        image = samples.image(i).astype(float)
        if time in brightness:
            brightness[time].append(image.mean())
        if time == "day" and weather in contrast:
            contrast[weather].append(image[10:28].std())  # around the horizon
    assert np.mean(brightness["night"]) < 0.6 * np.mean(brightness["day"])
    assert np.mean(contrast["fog"]) < 0.8 * np.mean(contrast["clear"])


def test_frames_of_a_run_are_near_duplicates() -> None:
    samples = Streets(train=100, native=SMALL).samples("train")
    images = [samples.image(i).astype(float) for i in range(len(samples))]

    def difference(a: int, b: int) -> float:
        return float(np.abs(images[a] - images[b]).mean())

    assert [samples.run(i) for i in (0, 4, 5, 99)] == [0, 0, 1, 19]
    within = [difference(i, i + 1) for i in range(99) if samples.run(i) == samples.run(i + 1)]
    between = [difference(i, j) for i in range(0, 100, 5) for j in range(0, i, 5)]
    assert np.mean(within) < 0.35 * np.mean(between)
    assert max(within) < np.median(between)
    assert min(within) > 0.5  # but not the same frame again
    assert all(samples.mode(i) == samples.mode(i - i % 5) for i in range(100))


def test_splits_share_neither_ids_nor_scenes() -> None:
    data = Streets(train=30, val=30, test=30, native=SMALL)
    splits = [data.samples(split) for split in ("train", "val", "test")]
    ids = [name for samples in splits for name in samples.ids]
    assert len(set(ids)) == len(ids) == 90
    assert ids[1] == "train/run000_frame01"
    masks = {samples.target(i).tobytes() for samples in splits for i in range(0, 30, 5)}
    assert len(masks) == 18


def test_run_length_one_has_no_duplicates() -> None:
    samples = Streets(train=20, run_length=1, native=SMALL).samples("train")
    assert samples.ids[7] == "train/run007_frame00"
    assert len({samples.target(i).tobytes() for i in range(20)}) == 20


def test_splits_may_be_empty_and_indices_end() -> None:
    samples = Streets(val=0).samples("val")
    assert len(samples) == 0 and list(samples.ids) == []
    with pytest.raises(IndexError):
        samples.image(0)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train", 0),
        ("val", -1),
        ("test", -5),
        ("native", (15, 64)),
        ("run_length", 0),
        ("scene_seed", -1),
        ("size", (0, 5)),
    ],
)
def test_bad_settings_are_named(setting: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"Streets\.{setting} "):
        Streets(**{setting: value})


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'train'"):
        Streets().samples("trian")  # type: ignore[arg-type]


def test_kept_frames_are_bounded_and_cannot_be_changed_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = Streets(train=12, native=(24, 32)).samples("train")
    monkeypatch.setattr("seg_al.data.streets.KEPT_BYTES", 3 * 24 * 32 * 4)
    first = samples.image(0)
    whole = first.copy()
    first[:] = 0
    assert np.array_equal(samples.image(0), whole)
    for index in range(12):
        samples.image(index)
    assert len(samples._drawn) == 3 and np.array_equal(samples.image(0), whole)
