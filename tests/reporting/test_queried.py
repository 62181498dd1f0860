"""What is noted of a query."""

from __future__ import annotations

import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_al.reporting.queried import COMPARED, class_counts, describe_query, redundancy, write_pictures


def noise(seed: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_pixels_are_counted_by_class_without_void() -> None:
    mask = np.array([[0, 2, 2], [255, 2, 0]], np.uint8)
    np.testing.assert_array_equal(class_counts(mask, 4), [2, 0, 3, 0])
    np.testing.assert_array_equal(class_counts(np.array(255), 257), np.eye(257)[255])  # a class, not void


def test_redundancy_is_the_mean_of_the_greatest_correlation() -> None:
    images = [noise(k) for k in range(4)]
    rows = np.corrcoef(np.stack([image.ravel() for image in images]))  # at 16 x 16 a thumbnail is the image
    np.fill_diagonal(rows, -1)
    assert redundancy(images) == pytest.approx(rows.max(1).mean(), abs=1e-5)


def test_near_duplicates_are_alike_whatever_their_brightness_and_size() -> None:
    image = cv2.GaussianBlur(noise(0, 64), (9, 9), 0)
    brighter = (image * 0.5 + 100).astype(np.uint8)
    larger = cv2.resize(image, (96, 128), interpolation=cv2.INTER_CUBIC)
    assert redundancy([image, brighter]) > 0.99
    assert redundancy([image, larger]) > 0.98
    assert redundancy([image, cv2.GaussianBlur(noise(1, 64), (9, 9), 0)]) < 0.5
    assert np.isnan(redundancy([image]))
    night = np.zeros((8, 8, 3), np.uint8)  # of one value: nothing to correlate, yet the same
    assert redundancy([night, night]) == 1 and redundancy([night, noise(0)]) == 0


def test_the_images_of_a_query_are_read_one_at_a_time() -> None:
    kept: list[weakref.ref] = []
    most = 0

    def image(index: int) -> np.ndarray:
        nonlocal most
        made = noise(index, 64)
        kept.append(weakref.ref(made))
        most = max(most, sum(one() is not None for one in kept))
        return made

    describe_query(image, lambda index: np.array(0), range(20), ["all"])
    assert len(kept) == 20 and most <= 2


def test_a_large_query_is_compared_in_part_and_counted_whole() -> None:
    read: list[int] = []

    def image(index: int) -> np.ndarray:
        read.append(index)
        return noise(index, 4)

    about = describe_query(image, lambda index: np.array(index % 2), range(3 * COMPARED), ["even", "odd"])
    assert about["images"] == about["pixels"] == {"even": 1.5 * COMPARED, "odd": 1.5 * COMPARED}
    assert len(read) == COMPARED and min(read) == 0 and max(read) == 3 * COMPARED - 1


def test_pictures_are_kept_small_and_never_enlarged(tmp_path: Path) -> None:
    wide, small = noise(0, 64).repeat(10, axis=1), np.full((20, 30, 3), (250, 20, 20), np.uint8)
    write_pictures(tmp_path / "query", [(wide, wide), (small, small)])
    names = sorted(file.name for file in (tmp_path / "query").iterdir())
    assert names == ["001.jpg", "001_label.jpg", "002.jpg", "002_label.jpg"]
    first, second = (cv2.imread(str(tmp_path / "query" / name)) for name in ("001.jpg", "002.jpg"))
    assert first.shape == (16, 160, 3) and second.shape == (20, 30, 3)
    assert second[10, 15].tolist() == pytest.approx([20, 20, 250], abs=6)  # OpenCV's order: red is last
