"""Scores over a whole split, read off its counts: IoU per class and mIoU; accuracy, top-5 and per class."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class ConfusionMatrix:
    """Pixel counts ``M[ground truth, prediction]``, accumulated over the batches of a split.

    Scores come from the counts of all pixels together, never from averages of images or batches. To
    combine processes, sum their ``matrix`` (``all_reduce``): counts are integers, so nothing is lost.

    Args:
        num_classes: C; ground truth and predictions are 0 .. C - 1.
        ignore_index: ground truth value whose pixels count nowhere, whatever is predicted there.
        device: where the counts live; batches may come from any device.

    Attributes:
        matrix: (C, C) int64 counts.

    Raises:
        ValueError: `ignore_index` is also a class.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, device: torch.device | str = "cpu") -> None:
        if num_classes < 1 or 0 <= ignore_index < num_classes:
            raise ValueError(f"ignore_index {ignore_index} must lie outside the classes 0..{num_classes - 1}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count one batch.

        Args:
            prediction: (..., H, W) integers, the predicted classes.
            target: ground truth of the same shape, integers; `ignore_index` = not counted.

        Raises:
            ValueError: shapes differ, values are not integers, or a counted pixel's ground truth or
                prediction is no class. Nothing is counted then.
        """
        if prediction.shape != target.shape:
            raise ValueError(f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape")
        counted = target != self.ignore_index
        # int64 before any arithmetic: train ids come as uint8, in which 19 * 18 overflows
        target, prediction = self._classes("target", target[counted]), self._classes("prediction", prediction[counted])
        cells = target * self.num_classes + prediction
        counts = torch.bincount(cells, minlength=self.num_classes**2).reshape(self.matrix.shape)
        self.matrix += counts.to(self.matrix.device)

    def _classes(self, name: str, values: Tensor) -> Tensor:
        if values.is_floating_point():
            raise ValueError(f"{name} holds {values.dtype}, not integer classes")
        values = values.long()
        if values.numel() and (values.min() < 0 or values.max() >= self.num_classes):
            wrong = values[(values < 0) | (values >= self.num_classes)].unique().tolist()
            raise ValueError(
                f"{name} holds {', '.join(map(str, wrong[:10]))}, which is neither a class "
                f"(0..{self.num_classes - 1}) nor the ignore index {self.ignore_index}"
            )
        return values

    @property
    def confusion(self) -> Tensor:
        """`matrix`."""
        return self.matrix

    @property
    def iou(self) -> Tensor:
        """IoU per class, (C,) float64 on the CPU: M_cc / (row_c + col_c - M_cc).

        NaN for a class in neither ground truth nor prediction; 0 for one that is present and never
        predicted, or predicted and never present.
        """
        matrix = self.matrix.cpu().double()
        hits = matrix.diag()
        return hits / (matrix.sum(1) + matrix.sum(0) - hits)  # 0 / 0 is NaN, as wanted

    @property
    def mean_iou(self) -> float:
        """Mean of `iou` over the classes that have one, in [0, 1]; NaN where nothing was counted."""
        return float(self.iou.nanmean())

    @property
    def pixel_accuracy(self) -> float:
        """Share of counted pixels predicted right, in [0, 1]; NaN where nothing was counted."""
        matrix = self.matrix.cpu().double()
        return float(matrix.trace() / matrix.sum())

    def summary(self, class_names: Sequence[str]) -> dict[str, float | dict[str, float | None] | None]:
        """Return ``{"mIoU", "pixel_accuracy", "IoU": {class: value}}``, ready for JSON: NaN is None.

        Raises:
            ValueError: not one name a class.
        """
        if len(class_names) != self.num_classes:
            raise ValueError(f"{len(class_names)} class names for {self.num_classes} classes")
        return {
            "mIoU": _number(self.mean_iou),
            "pixel_accuracy": _number(self.pixel_accuracy),
            "IoU": {name: _number(value) for name, value in zip(class_names, self.iou.tolist(), strict=True)},
        }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


class Accuracy:
    """Top-1 and top-5 accuracy over a whole split, in all and by class.

    Args:
        num_classes: C; ground truth and predictions are 0 .. C - 1.

    Attributes:
        matrix: (C, C + 1) int64 counts: image ``[ground truth, first prediction]``, and in the last column
            those whose class is among the first five. To combine processes, sum it.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.matrix = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count one batch.

        Args:
            prediction: (B, k) integers, classes by falling probability; k is 5, or C where that is less.
            target: (B,) integers.

        Raises:
            ValueError: shapes do not fit, or a value is no class. Nothing is counted then.
        """
        if prediction.dim() != 2 or target.shape != prediction.shape[:1]:
            raise ValueError(f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} do not fit")
        target, prediction = target.long().cpu(), prediction.long().cpu()
        for name, values in (("target", target), ("prediction", prediction)):
            if values.numel() and (values.min() < 0 or values.max() >= self.num_classes):
                raise ValueError(f"{name} holds values that are no class (0..{self.num_classes - 1})")
        one = torch.ones_like(target)
        self.matrix.index_put_((target, prediction[:, 0]), one, accumulate=True)
        among = (prediction[:, :5] == target[:, None]).any(1).long()
        self.matrix.index_put_((target, torch.full_like(target, self.num_classes)), among, accumulate=True)

    @property
    def confusion(self) -> Tensor:
        """Counts (C, C), ``[ground truth, prediction]``."""
        return self.matrix[:, : self.num_classes]

    @property
    def accuracy(self) -> float:
        """Share of images whose first prediction is right, in [0, 1]; NaN where nothing was counted."""
        return float(self.confusion.trace().double() / self.confusion.sum())

    @property
    def top5(self) -> float:
        """Share of images whose class is among the first five, in [0, 1]; NaN where nothing was counted."""
        return float(self.matrix[:, -1].sum().double() / self.confusion.sum())

    @property
    def per_class(self) -> Tensor:
        """Accuracy of the images of each class, (C,) float64; NaN for a class without images."""
        counts = self.confusion.double()
        return counts.diag() / counts.sum(1)

    def summary(self, class_names: Sequence[str]) -> dict[str, float | dict[str, float | None] | None]:
        """Return ``{"accuracy", "top5", "accuracy_per_class": {class: value}}``, ready for JSON: NaN is None.

        Raises:
            ValueError: not one name a class.
        """
        if len(class_names) != self.num_classes:
            raise ValueError(f"{len(class_names)} class names for {self.num_classes} classes")
        values = dict(zip(class_names, map(_number, self.per_class.tolist()), strict=True))
        return {"accuracy": _number(self.accuracy), "top5": _number(self.top5), "accuracy_per_class": values}
