"""The confusion matrix against scikit-learn, torchmetrics, and a count by hand."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

from seg_al.metrics import ConfusionMatrix

CLASSES = 7


def random_maps(seed: int, images: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps with ignored pixels; 4 is in neither, 5 only in the ground truth, 6 only in the prediction."""
    rng = np.random.default_rng(seed)
    target = rng.choice([0, 1, 2, 3, 5, 255], size=(images, 24, 31), p=[0.4, 0.2, 0.15, 0.05, 0.05, 0.15])
    prediction = np.where(rng.random(target.shape) < 0.6, target, rng.choice([0, 1, 2, 3, 6], size=target.shape))
    prediction[np.isin(prediction, [5, 255])] = 0
    return torch.from_numpy(prediction), torch.from_numpy(target.astype(np.uint8))


def filled(prediction: torch.Tensor, target: torch.Tensor, classes: int = CLASSES) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes)
    matrix.update(prediction, target)
    return matrix


def test_hand_calculated() -> None:
    target = torch.tensor([[0, 0, 1, 1], [1, 2, 255, 255]])
    prediction = torch.tensor([[0, 1, 1, 1], [0, 0, 2, 0]])
    matrix = filled(prediction, target, classes=4)
    assert matrix.matrix.tolist() == [[1, 1, 0, 0], [1, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    # class 0: 1 hit, 2 true, 3 predicted; class 1: 2 hits, 3 true, 3 predicted; class 2: never predicted
    assert matrix.iou[:3].tolist() == [1 / 4, 2 / 4, 0.0]
    assert math.isnan(matrix.iou[3])
    assert matrix.mean_iou == pytest.approx(0.25)
    assert matrix.pixel_accuracy == pytest.approx(3 / 6)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(seed: int) -> None:
    prediction, target = random_maps(seed)
    ours = filled(prediction, target)
    counted = target.numpy() != 255
    truth, guess = target.numpy()[counted], prediction.numpy()[counted]
    assert np.array_equal(ours.matrix.numpy(), confusion_matrix(truth, guess, labels=range(CLASSES)))
    present = [0, 1, 2, 3, 5, 6]  # scikit-learn calls class 4, which is nowhere, 0; here it has no IoU
    expected = jaccard_score(truth, guess, labels=present, average=None)
    assert np.allclose(ours.iou[present], expected, atol=1e-12)
    assert torch.isnan(ours.iou).tolist() == [False, False, False, False, True, False, False]
    assert ours.mean_iou == pytest.approx(expected.mean())
    assert ours.pixel_accuracy == pytest.approx((truth == guess).mean())


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torchmetrics(seed: int) -> None:
    prediction, target = random_maps(seed)
    ours = filled(prediction, target)
    settings = {"num_classes": CLASSES, "ignore_index": 255}
    assert torch.equal(ours.matrix, MulticlassConfusionMatrix(**settings)(prediction, target.long()))
    # torchmetrics' macro mean also leaves out classes that are in neither map
    macro = MulticlassJaccardIndex(**settings, average="macro")(prediction, target.long())
    assert ours.mean_iou == pytest.approx(float(macro), abs=1e-6)
    theirs = MulticlassJaccardIndex(**settings, average="none")(prediction, target.long())
    present = ~torch.isnan(ours.iou)
    assert torch.allclose(ours.iou[present], theirs[present].double(), atol=1e-6)
    accuracy = MulticlassAccuracy(**settings, average="micro")(prediction, target.long())
    assert ours.pixel_accuracy == pytest.approx(float(accuracy), abs=1e-6)


def test_batches_of_any_size_equal_all_at_once() -> None:
    prediction, target = random_maps(3, images=9)
    batched = ConfusionMatrix(CLASSES)
    for start, stop in [(0, 4), (4, 5), (5, 9)]:
        batched.update(prediction[start:stop], target[start:stop])
    assert torch.equal(batched.matrix, filled(prediction, target).matrix)


def test_images_of_different_size_weigh_by_their_pixels() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(torch.zeros(10, 9, dtype=torch.long), torch.zeros(10, 9, dtype=torch.uint8))
    matrix.update(torch.ones(2, 5, dtype=torch.long), torch.zeros(2, 5, dtype=torch.uint8))
    assert matrix.iou.tolist() == [0.9, 0.0]  # the mean over images would be 0.5


def test_integer_types_do_not_overflow() -> None:
    target = torch.full((4, 4), 18, dtype=torch.uint8)
    assert filled(target.clone(), target, classes=19).matrix[18, 18] == 16


def test_predictions_on_ignored_pixels_count_nowhere() -> None:
    target = torch.tensor([[0, 255]])
    matrix = filled(torch.tensor([[0, 1]]), target, classes=2)
    assert matrix.matrix.sum() == 1 and math.isnan(matrix.iou[1])
    assert torch.equal(filled(torch.tensor([[0, 99]]), target, classes=2).matrix, matrix.matrix)


@pytest.mark.parametrize("wrong", [-1, 3, 254])
def test_ground_truth_that_is_no_class_is_refused(wrong: int) -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=rf"target holds {wrong}\b"):
        matrix.update(torch.zeros(2, 2, dtype=torch.long), torch.tensor([[0, 1], [2, wrong]]))
    assert matrix.matrix.sum() == 0


def test_other_mistakes_are_refused() -> None:
    matrix = ConfusionMatrix(3)
    zeros = torch.zeros(2, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="prediction holds 3"):
        matrix.update(zeros + 3, zeros)
    with pytest.raises(ValueError, match="shape"):  # would broadcast
        matrix.update(zeros[:1], zeros)
    with pytest.raises(ValueError, match="float"):  # probabilities passed for classes
        matrix.update(zeros.float(), zeros)
    with pytest.raises(ValueError, match="ignore_index"):
        ConfusionMatrix(3, ignore_index=0)
    with pytest.raises(ValueError, match="2 class names"):
        matrix.summary(["road", "car"])


@pytest.mark.parametrize("target", [torch.zeros(0, 4, 4, dtype=torch.long), torch.full((1, 4, 4), 255)])
def test_nothing_counted_is_nan(target: torch.Tensor) -> None:
    matrix = filled(torch.zeros_like(target), target, classes=3)
    assert torch.isnan(matrix.iou).all() and math.isnan(matrix.mean_iou) and math.isnan(matrix.pixel_accuracy)
    assert matrix.summary(["a", "b", "c"])["mIoU"] is None


def test_summary_is_json_with_the_main_metric_first() -> None:
    target = torch.tensor([[0, 0], [1, 255]])
    summary = filled(torch.tensor([[0, 0], [1, 1]]), target, classes=3).summary(["road", "car", "bus"])
    assert json.loads(json.dumps(summary, allow_nan=False)) == {
        "mIoU": 1.0,
        "pixel_accuracy": 1.0,
        "IoU": {"road": 1.0, "car": 1.0, "bus": None},
    }
    assert next(iter(summary)) == "mIoU"
