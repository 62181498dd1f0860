"""The confusion matrix and accuracy against scikit-learn, torchmetrics, and a count by hand."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score, top_k_accuracy_score
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

from seg_al.metrics import Accuracy, ConfusionMatrix

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


def ranked(seed: int, images: int = 200, classes: int = CLASSES) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Return scores (N, C), their classes by falling score (N, 5), and ground truth without class 3."""
    rng = np.random.default_rng(seed)
    target = rng.choice([c for c in range(classes) if c != 3], size=images)
    scores = rng.random((images, classes))
    scores[np.arange(images), target] += 0.3
    order = np.argsort(-scores, axis=1)[:, :5].copy()
    return scores, torch.from_numpy(order), torch.from_numpy(target)


def test_accuracy_calculated_by_hand() -> None:
    accuracy = Accuracy(7)
    prediction = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 1], [6, 0, 1, 2, 3]])
    accuracy.update(prediction, torch.tensor([0, 0, 1, 6]))
    # first: right; second: 0 is not among its five; third: 1 is its fifth; fourth: right
    assert (accuracy.accuracy, accuracy.top5) == (2 / 4, 3 / 4)
    assert accuracy.per_class[[0, 1, 6]].tolist() == [0.5, 0.0, 1.0]
    assert torch.isnan(accuracy.per_class).tolist() == [False, False, True, True, True, True, False]
    assert accuracy.confusion[1].tolist() == [0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_agrees_with_scikit_learn(seed: int) -> None:
    scores, prediction, target = ranked(seed)
    ours = Accuracy(CLASSES)
    for start in (0, 7, 150):  # in batches of different size
        stop = {0: 7, 7: 150, 150: 200}[start]
        ours.update(prediction[start:stop], target[start:stop])
    first = prediction[:, 0].numpy()
    assert ours.accuracy == pytest.approx(accuracy_score(target, first))
    assert ours.top5 == pytest.approx(top_k_accuracy_score(target, scores, k=5, labels=range(CLASSES)))
    present = [0, 1, 2, 4, 5, 6]
    recalls = recall_score(target, first, labels=present, average=None)
    assert np.allclose(ours.per_class[present], recalls) and math.isnan(ours.per_class[3])
    assert np.array_equal(ours.confusion.numpy(), confusion_matrix(target, first, labels=range(CLASSES)))


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_agrees_with_torchmetrics(seed: int) -> None:
    scores, prediction, target = ranked(seed, classes=20)
    ours = Accuracy(20)
    ours.update(prediction, target)
    settings = {"num_classes": 20, "average": "micro"}
    for k, value in ((1, ours.accuracy), (5, ours.top5)):
        theirs = MulticlassAccuracy(**settings, top_k=k)(torch.from_numpy(scores), target)
        assert value == pytest.approx(float(theirs), abs=1e-6)
    assert ours.top5 > ours.accuracy + 0.1


def test_with_fewer_than_five_classes_all_are_among_the_first_five() -> None:
    ours = Accuracy(3)
    ours.update(torch.tensor([[2, 1, 0], [0, 1, 2]]), torch.tensor([0, 0]))
    assert (ours.accuracy, ours.top5) == (0.5, 1.0)


def test_summed_matrices_of_processes_are_those_of_all_images() -> None:
    _, prediction, target = ranked(0)
    whole, parts = Accuracy(CLASSES), [Accuracy(CLASSES), Accuracy(CLASSES)]
    whole.update(prediction, target)
    for rank, part in enumerate(parts):
        part.update(prediction[rank::2], target[rank::2])
    parts[0].matrix += parts[1].matrix
    assert torch.equal(parts[0].matrix, whole.matrix)
    names = [str(c) for c in range(CLASSES)]
    assert parts[0].summary(names) == whole.summary(names)


def test_accuracy_refuses_what_does_not_fit_and_counts_nothing() -> None:
    ours = Accuracy(3)
    five = torch.tensor([[0, 1, 2], [1, 2, 0]])
    for prediction, target in (
        (five, torch.tensor([0])),
        (five[:, 0], torch.tensor([0, 1])),
        (five, torch.tensor([0, 3])),
        (five, torch.tensor([-1, 0])),
        (five + 1, torch.tensor([0, 1])),
    ):
        with pytest.raises(ValueError):
            ours.update(prediction, target)
    assert ours.matrix.sum() == 0 and math.isnan(ours.accuracy)
    with pytest.raises(ValueError, match="2 class names"):
        ours.summary(["a", "b"])


def test_summary_of_accuracy_is_json_with_the_main_metric_first() -> None:
    ours = Accuracy(3)
    assert ours.summary(["a", "b", "c"])["accuracy"] is None
    ours.update(torch.tensor([[0, 1, 2], [1, 0, 2]]), torch.tensor([0, 0]))
    summary = ours.summary(["a", "b", "c"])
    assert json.loads(json.dumps(summary, allow_nan=False)) == {
        "accuracy": 0.5,
        "top5": 1.0,
        "accuracy_per_class": {"a": 0.5, "b": None, "c": None},
    }
    assert next(iter(summary)) == "accuracy"
