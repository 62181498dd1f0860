"""What classification data sets share: how images and classes reach the network, colours, smaller versions."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest
import torch

from seg_al.config import UserError
from seg_al.data.base import Split
from seg_al.data.class_files import ArraySamples
from seg_al.data.classification import ClassificationBenchmark, ClassificationDataset, distinct_colors
from seg_al.data.transforms import evaluation_transform, training_transform
from seg_al.data.views import Draws, EvaluationView, ImageView, LabeledView, load_draws, load_in_order


def noise(count: int, height: int = 20, width: int = 28) -> ArraySamples:
    """Images of noise whose class is their number modulo 300, so above what a byte holds."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    ids = tuple(f"i{index:04d}" for index in range(count))
    return ArraySamples(ids, pixels, np.arange(count) % 300, np.arange(count))


class Noise(ClassificationDataset):
    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(f"class {index}" for index in range(300))

    def samples(self, split: Split) -> ArraySamples:
        return noise(5)


class NoiseBenchmark(ClassificationBenchmark):
    val_images: int = 30

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(f"class {index}" for index in range(300))

    def official(self, split: Literal["train", "test"]) -> ArraySamples:
        return noise({"train": 200, "test": 50}[split], 2, 2)


def test_labeled_batches_hold_classes_as_integers() -> None:
    dataset, samples = Noise(size=(16, 16)), noise(300, 4, 4)
    view = LabeledView(dataset, samples, samples.target, [299, 255, 7])
    batches = load_draws(view, Draws((0, "test"), count=3, batch_size=3, steps=1, epochs=range(1)), workers=0)
    images, targets = next(batches)
    assert images.shape == (3, 3, 16, 16) and images.dtype == torch.uint8
    assert targets.shape == (3,) and targets.dtype == torch.int64
    assert sorted(targets.tolist()) == [7, 255, 299]  # 255 is a class, not "ignore"


def test_evaluation_batches_hold_images_and_classes_in_order() -> None:
    dataset, samples = Noise(size=(16, 16)), noise(5)
    ((rows, images, targets),) = next(load_in_order(EvaluationView(dataset, samples), [[3, 1, 4]], workers=0))
    assert rows == [0, 1, 2] and targets.tolist() == [3, 1, 4] and targets.shape[1:] == ()
    expected = cv2.resize(samples.image(1), (16, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(images[1].permute(1, 2, 0).numpy(), expected)


def test_a_class_stays_what_it_is_under_every_augmentation() -> None:
    transform, image = training_transform(Noise(size=(16, 16), fit="crop")), noise(1).image(0)
    drawn = [transform(image, np.array(123), seed) for seed in range(20)]
    assert all(pair["target"].shape == () and pair["target"] == 123 for pair in drawn)
    assert len({pair["image"].tobytes() for pair in drawn}) > 10  # crops and mirror images
    again = transform(image, np.array(123), 7)["image"]
    np.testing.assert_array_equal(again, drawn[7]["image"])


@pytest.mark.parametrize(("height", "width"), [(70, 98), (98, 70), (16, 16), (15, 40)])
def test_crops_keep_the_shape_of_things_and_evaluation_sees_the_centre(height: int, width: int) -> None:
    # by hand: the side that is shorter against 56x35 becomes 64 (or 40), then 56x35 are cut from the middle
    size = (56, 35)
    image = noise(1, height, width).image(0)
    scale = max(64 / height, 40 / width)
    tall, wide = round(height * scale), round(width * scale)
    shrinks = scale < 1
    fitted = cv2.resize(image, (wide, tall), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    top, left = (tall - 56) // 2, (wide - 35) // 2
    seen = evaluation_transform(size, center_crop=True)(image)["image"]
    np.testing.assert_array_equal(seen, fitted[top : top + 56, left : left + 35])
    transform = training_transform(Noise(size=size, fit="crop", flip=False))
    crop = transform(image, np.array(0), seed=3)["image"]
    assert crop.shape == (56, 35, 3)
    windows = np.lib.stride_tricks.sliding_window_view(fitted, (56, 35, 3))[:, :, 0]
    assert (windows == crop).all((-3, -2, -1)).any()


def test_scoring_sees_the_centre_at_any_size_and_in_subsets() -> None:
    samples, dataset = noise(2, 40, 80), Noise(size=(16, 16), fit="crop")
    view = ImageView(samples.image, samples.ids, [0, 1], dataset.input_size, center_crop=dataset.center_crop)
    image, target = EvaluationView(dataset, samples)[1]
    assert torch.equal(view[1], image) and target == 1
    assert torch.equal(view.subset([1])[0], image)
    half = torch.from_numpy(evaluation_transform((8, 8), center_crop=True)(samples.image(1))["image"])
    assert torch.equal(view.at((8, 8))[1].permute(1, 2, 0), half)
    assert not torch.equal(image, EvaluationView(Noise(size=(16, 16)), samples)[1][0])


@pytest.mark.parametrize("count", [1, 2, 20, 257, 1000])
def test_colours_are_distinct_and_always_the_same(count: int) -> None:
    colors = distinct_colors(count)
    assert colors.shape == (count, 3) and colors.dtype == np.uint8
    assert len(np.unique(colors, axis=0)) == count
    np.testing.assert_array_equal(colors, distinct_colors(1000)[:count])


def test_colours_of_a_few_classes_can_be_told_apart() -> None:
    colors = distinct_colors(20).astype(int)
    apart = np.abs(colors[:, None] - colors).sum(-1)[~np.eye(20, dtype=bool)]
    assert apart.min() >= 40
    np.testing.assert_array_equal(Noise(size=(4, 4)).palette, distinct_colors(300))


def test_val_is_held_out_of_the_pool_and_a_smaller_pool_is_part_of_a_larger_one() -> None:
    ids = {split: set(NoiseBenchmark().samples(split).ids) for split in ("train", "val", "test")}
    assert {split: len(names) for split, names in ids.items()} == {"train": 170, "val": 30, "test": 50}
    assert ids["train"] | ids["val"] == set(noise(200).ids)
    small = NoiseBenchmark(pool_images=40, test_images=10)
    smaller = NoiseBenchmark(pool_images=20)
    assert set(smaller.samples("train").ids) < set(small.samples("train").ids) < ids["train"]
    assert len(small.samples("train")) == 40 and len(small.samples("test")) == 10
    assert set(small.samples("val").ids) == ids["val"]  # the same val for every size of the pool
    samples = small.samples("train")
    for index, name in enumerate(samples.ids):
        assert samples.target(index) == int(name[1:])
        np.testing.assert_array_equal(samples.image(index), noise(200, 2, 2).image(int(name[1:])))


def test_a_drawn_pool_does_not_depend_on_the_order_of_val_ranks() -> None:
    """Val takes the first by one ranking: a pool by the same ranking would border on it, by another it does not."""
    first = set(NoiseBenchmark(val_images=0, pool_images=30).samples("train").ids)
    assert first != set(NoiseBenchmark().samples("val").ids)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"val_images": -1}, "NoiseBenchmark.val_images must be 0 or more, not -1"),
        ({"pool_images": 0}, "NoiseBenchmark.pool_images must be 1 or more, not 0"),
        ({"fit": "crop"}, "needs a size"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        NoiseBenchmark(**settings)


@pytest.mark.parametrize(
    ("settings", "split", "told"),
    [
        ({"val_images": 200}, "train", "val_images is 200, but there are 200 train images"),
        ({"pool_images": 171}, "train", "pool_images is 171, but there are 170 images"),
        ({"test_images": 51}, "test", "test_images is 51, but there are 50 images"),
    ],
)
def test_more_images_than_there_are_is_refused(settings: dict, split: Split, told: str) -> None:
    with pytest.raises(UserError, match=told):
        NoiseBenchmark(**settings).samples(split)
