"""Statistics of several predictions, against scipy, numpy and their definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy
from scipy.stats import mode
from torch import Tensor

from seg_al.strategies.disagreement import (
    deviation,
    entropy,
    mutual_information,
    predictive_entropy,
    variance,
    variation_ratio,
)

Statistic = Callable[[Iterable[Tensor]], Tensor]
STATISTICS: list[Statistic] = [predictive_entropy, mutual_information, variance, deviation, variation_ratio]
every_statistic = pytest.mark.parametrize("statistic", STATISTICS, ids=lambda s: s.__name__)


def random_predictions(members: int, classes: int = 4, concentration: float = 0.5) -> np.ndarray:
    """Return probabilities of 2 images of 3x5 pixels, (members, 2, classes, 3, 5) float64."""
    p = np.random.default_rng(members).dirichlet(np.full(classes, concentration), (members, 2, 3, 5))
    return np.moveaxis(p, -1, 2)


def one_hot(classes: list[int], count: int) -> list[Tensor]:
    """Return one prediction a member, (1, count, 1, 1), certain of its class."""
    return [torch.eye(count)[c].view(1, count, 1, 1) for c in classes]


def test_entropy_is_scipys_in_nats() -> None:
    p = random_predictions(1)[0]
    assert entropy(torch.tensor(p)).numpy() == pytest.approx(scipy_entropy(p, axis=1))


def test_predictive_entropy_is_that_of_the_mean() -> None:
    p = random_predictions(5)
    assert predictive_entropy(map(torch.tensor, p)).numpy() == pytest.approx(scipy_entropy(p.mean(0), axis=1))


def test_mutual_information_of_two_is_scipys_squared_jensen_shannon_distance() -> None:
    p = random_predictions(2)
    assert mutual_information(map(torch.tensor, p)).numpy() == pytest.approx(jensenshannon(p[0], p[1], axis=1) ** 2)


def test_mutual_information_is_the_mean_divergence_from_the_mean() -> None:
    p = random_predictions(5)  # another form of it: the mean Kullback-Leibler divergence of members from their mean
    expected = scipy_entropy(p, p.mean(0, keepdims=True), axis=2).mean(0)
    assert mutual_information(map(torch.tensor, p)).numpy() == pytest.approx(expected)


def test_variance_and_deviation_are_numpys() -> None:
    p = random_predictions(5)
    assert variance(map(torch.tensor, p)).numpy() == pytest.approx(np.var(p, axis=0).sum(1))
    assert deviation(map(torch.tensor, p)).numpy() == pytest.approx(np.std(p, axis=0).mean(1))


def test_variation_ratio_counts_as_scipys_mode() -> None:
    p = random_predictions(7)
    expected = 1 - mode(p.argmax(2), axis=0).count / 7
    assert variation_ratio(map(torch.tensor, p)).numpy() == pytest.approx(expected)


def test_variance_of_nearly_equal_predictions_does_not_cancel_in_single_precision() -> None:
    rng = np.random.default_rng(0)
    near = (np.array([0.7, 0.2, 0.1])[:, None, None] + 1e-4 * rng.normal(size=(10, 1, 3, 8, 8))).astype(np.float32)
    exact = np.var(near.astype(np.float64), axis=0)
    assert variance(map(torch.tensor, near)).numpy() == pytest.approx(exact.sum(1), rel=2e-3)
    assert deviation(map(torch.tensor, near)).numpy() == pytest.approx(np.sqrt(exact).mean(1), rel=2e-3)


def test_mutual_information_in_single_precision_is_exact_to_rounding_and_never_negative() -> None:
    p = random_predictions(5, classes=19, concentration=5.0).astype(np.float32)
    p = p[:1] + np.float32(0.2) * (p - p[:1])  # members that nearly agree
    exact = scipy_entropy(p.astype(np.float64), p.astype(np.float64).mean(0, keepdims=True), axis=2).mean(0)
    assert 1e-4 < exact.max() < 1e-1
    assert mutual_information(map(torch.tensor, p)).numpy() == pytest.approx(exact, abs=2e-6)
    assert mutual_information(torch.tensor(p[:1]).expand(5, -1, -1, -1, -1)).min() >= 0


@every_statistic
def test_members_that_agree_for_certain_leave_no_uncertainty(statistic: Statistic) -> None:
    assert statistic(one_hot([1, 1, 1], 3)).tolist() == [[[0.0]]]


def test_members_that_disagree_for_certain() -> None:
    predictions = one_hot([0, 1, 2, 2], 4)  # zeros in all of them, and class 3 in none
    quarters = -2 * 0.25 * np.log(0.25) - 0.5 * np.log(0.5)
    assert predictive_entropy(predictions).item() == pytest.approx(quarters)
    assert mutual_information(predictions).item() == pytest.approx(quarters)
    assert variance(predictions).item() == pytest.approx(2 * 3 / 16 + 1 / 4)
    assert deviation(predictions).item() == pytest.approx((2 * np.sqrt(3) / 4 + 1 / 2) / 4)
    assert variation_ratio(predictions).item() == pytest.approx(0.5)


@every_statistic
def test_whole_images_and_any_shape_of_map(statistic: Statistic) -> None:
    p = torch.tensor(random_predictions(3))
    assert torch.equal(statistic(p[..., 0, 0]), statistic(p)[:, 0, 0])


@every_statistic
def test_predictions_are_taken_one_at_a_time_and_left_as_they_are(statistic: Statistic) -> None:
    p = torch.tensor(random_predictions(4))
    before = p.clone()

    def one_at_a_time() -> Iterator[Tensor]:
        yield from p

    assert statistic(one_at_a_time()).shape == (2, 3, 5)
    assert torch.equal(p, before)
