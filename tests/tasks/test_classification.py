"""The classification task: loss, probabilities, features and predictions, against torch and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from tiny import TinyClassifierNetwork
from torch import Tensor

from seg_al.data.classification import distinct_colors
from seg_al.metrics import Accuracy
from seg_al.tasks.classification import Classification


@pytest.fixture
def network() -> TinyClassifierNetwork:
    torch.manual_seed(0)
    return TinyClassifierNetwork(7).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_loss_is_the_cross_entropy_of_the_images(network: TinyClassifierNetwork, images: Tensor) -> None:
    targets = torch.tensor([0, 6, 3, 3, 1, 2])
    scores = np.exp(network(images).double().numpy())
    expected = log_loss(targets.numpy(), scores / scores.sum(1, keepdims=True), labels=range(7))
    loss = Classification().loss(network, images, targets)
    assert loss.shape == () and float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_loss_teaches_the_network(network: TinyClassifierNetwork, images: Tensor) -> None:
    task, targets = Classification(), torch.tensor([0, 1, 2, 3, 4, 5])
    before = task.loss(network, images, targets)
    before.backward()
    with torch.no_grad():
        for weights in network.parameters():
            assert weights.grad is not None
            weights -= 0.05 * weights.grad
        assert task.loss(network, images, targets) < before


@torch.no_grad()
def test_probabilities_are_those_of_whole_images_whatever_the_size(
    network: TinyClassifierNetwork, images: Tensor
) -> None:
    task = Classification()
    probabilities = task.probabilities(network, images)
    assert probabilities.shape == (6, 7) and torch.allclose(probabilities.sum(1), torch.ones(6))
    assert torch.allclose(probabilities, torch.softmax(network(images), 1))
    assert torch.equal(task.probabilities(network, images, size=(16, 16)), probabilities)


@torch.no_grad()
def test_features_are_averaged_over_space(network: TinyClassifierNetwork, images: Tensor) -> None:
    features = Classification().features(network, images)
    assert features.shape == (6, 8)
    np.testing.assert_allclose(features.numpy(), network.forward_features(images).numpy().mean((2, 3)), rtol=1e-5)


@pytest.mark.parametrize(("classes", "kept"), [(7, 5), (3, 3), (5, 5)])
@torch.no_grad()
def test_predictions_are_the_first_five_by_falling_probability(images: Tensor, classes: int, kept: int) -> None:
    network = TinyClassifierNetwork(classes).eval()
    predicted = Classification().predict(network, images)
    assert predicted.shape == (6, kept) and predicted.dtype == torch.int64
    order = np.argsort(-network(images).numpy(), axis=1)[:, :kept]
    np.testing.assert_array_equal(predicted.numpy(), order)


@torch.no_grad()
def test_predictions_fit_the_metric_and_the_picture(network: TinyClassifierNetwork, images: Tensor) -> None:
    task, targets = Classification(), torch.tensor([0, 6, 3, 3, 1, 2])
    metric = task.metric(7)
    assert isinstance(metric, Accuracy)
    predicted = task.predict(network, images, targets.shape[1:])
    metric.update(predicted, targets)
    right = (network(images).argmax(1) == targets).float().mean()
    assert metric.summary("abcdefg")[task.metric_name] == pytest.approx(float(right))

    palette, image = distinct_colors(7), np.full((48, 48, 3), 9, np.uint8)
    picture = task.picture(image, np.array(6), np.array([2, 6, 0, 1, 3]), palette)
    np.testing.assert_array_equal(picture[0, 0], palette[6])  # outside what it is
    np.testing.assert_array_equal(picture[2, 2], palette[2])  # inside what it was taken for
    np.testing.assert_array_equal(picture[4:-4, 4:-4], image)
