"""Who answers a query with labels, and how well."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from seg_al.config import Component, UserError, nearest
from seg_al.data.base import Dataset, Samples
from seg_al.reporting.progress import progress
from seg_al.streams import generator


class Labels:
    """The labels that an oracle gives to the samples of one split: here the data set's own."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def target(self, index: int) -> np.ndarray:
        """Return the label of one sample, as `Samples.target`; the same whenever it is asked for.

        Raises:
            UserError: the sample has none.
        """
        target = self._samples.target(index)
        if target is None:
            name = self._samples.ids[index]
            raise UserError(f"{name}: was queried but has no label; a simulated run needs all of them")
        return target

    def report(self, indices: Sequence[int]) -> dict[str, Any]:
        """Return diagnostics of the labels of these samples, by name, for metrics.json and TensorBoard: none."""
        return {}


class Oracle(Component):
    """Gives the labels of queried samples."""

    def labels(self, dataset: Dataset, samples: Samples, seed: int) -> Labels:
        """Return the labels it gives to a split's samples; none is read yet.

        A label is a function of (oracle, seed, sample id) alone: not of when, how often, in which process or
        by which strategy it is asked for.

        Raises:
            UserError: the oracle's settings do not fit the data set.
        """
        raise NotImplementedError


class IdealOracle(Oracle):
    """The data set's own label, without noise."""

    def labels(self, dataset: Dataset, samples: Samples, seed: int) -> Labels:
        """Return the data set's own labels."""
        return Labels(samples)


class NoisyOracle(Oracle):
    """Mistakes a class for a similar one: another class of its group, each as likely.

    The noisy oracle of VAAL (Sinha, Ebrahimi, Darrell, ICCV 2019), here also for masks. With probability `rate`
    the label of an image, or that of a whole connected component of a mask (of one class, 8-connected), becomes
    a sibling class. Classes that are alone in their group keep their label, and so does void; where there are
    such classes, the share of wrong labels stays below `rate`. val and test stay clean. A label is a function
    of (seed, sample id): all strategies meet the same noise, and what is wrong at one rate is wrong, in the
    same way, at every higher one.

    Logged each round, over the labeled pool: ``oracle/noise_rate``, the share of labels (components of masks)
    that are wrong, and ``oracle/wrong_pixels``, the share of labeled pixels; for whole images the two are one.

    Cost: one labeling of connected components a class whenever a mask is read (5 ms for 480x360 pixels).
    """

    rate: float
    """Probability that a label is wrong, 0 to 1; 0.1, 0.2 and 0.3 in the paper."""

    groups: tuple[tuple[str, ...], ...] | None = None
    """Names of classes that are taken for each other, a tuple a group; a class that none names is alone. None:
    the data set's own super-classes (the 20 of CIFAR100; in other classification data sets all classes are one
    group) or categories (Cityscapes, BDD100K, Streets). For CamVid, close to Cityscapes' categories:
    (("road", "pavement"), ("building", "fence"), ("pole", "sign"), ("pedestrian", "bicyclist"))."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise UserError(f"NoisyOracle.rate is a probability, from 0 to 1, not {self.rate}")

    def labels(self, dataset: Dataset, samples: Samples, seed: int) -> NoisyLabels:
        """Return the data set's labels with noise.

        Raises:
            UserError: `groups` names an unknown class, or one twice, or the classes are not grouped at all.
        """
        return NoisyLabels(samples, self.rate, self._siblings(dataset), seed)

    def _siblings(self, dataset: Dataset) -> list[np.ndarray]:
        """Return for each class the others of its group, int64."""
        names, owner = dataset.class_names, type(dataset).__name__
        group_of: Any = getattr(dataset, "super_classes", None) or getattr(dataset, "categories", None)
        if self.groups is not None:
            given: dict[str, int] = {}
            for number, group in enumerate(self.groups):
                for name in group:
                    if name not in names:
                        raise UserError(f"NoisyOracle.groups: {owner} has no class {name!r}{nearest(name, names)}")
                    if name in given:
                        raise UserError(f"NoisyOracle.groups names {name!r} more than once; keep it in one group")
                    given[name] = number
            group_of = [given.get(name, name) for name in names]  # no number is a name: the others are alone
        if group_of is None:
            raise UserError(
                f"NoisyOracle: {owner} does not group its classes; say which are taken for each other, as "
                f"groups=(({names[0]!r}, {names[-1]!r}), ...)"
            )
        siblings = [
            np.array([k for k in range(len(names)) if k != class_id and group_of[k] == group_of[class_id]], int)
            for class_id in range(len(names))
        ]
        if not any(map(len, siblings)):
            raise UserError("NoisyOracle.groups: every class is alone, so no label can be wrong; put two into a group")
        return siblings


class NoisyLabels(Labels):
    """Labels of which some are those of a sibling class; see `NoisyOracle`."""

    def __init__(self, samples: Samples, rate: float, siblings: Sequence[np.ndarray], seed: int) -> None:
        super().__init__(samples)
        self._rate, self._siblings, self._seed = rate, siblings, seed
        # of wrong components, components, wrong pixels and pixels, void left out; once a label was reported
        self._counts = np.full((len(samples), 4), -1, np.int64)

    def target(self, index: int) -> np.ndarray:
        """Return the label of one sample with its noise."""
        return self._read(index)[0]

    def report(self, indices: Sequence[int]) -> dict[str, Any]:
        """Return the shares of components and of pixels whose label is wrong; None where there are no labels.

        Cost: a sample's label is read once, when it is first reported.
        """
        every = np.asarray(indices)

        def read(index: int) -> None:
            self._counts[index] = self._read(index)[1]

        for_each(read, every[self._counts[every, 0] < 0], "labels of the oracle")
        wrong, components, wrong_pixels, pixels = self._counts[every].sum(0).tolist()
        return {
            "oracle": {
                "noise_rate": wrong / components if components else None,
                "wrong_pixels": wrong_pixels / pixels if pixels else None,
            }
        }

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a label with its noise, and its row of counts."""
        clean = super().target(index)
        mask = np.atleast_2d(clean)  # the class of a whole image is a mask of one pixel
        noisy = mask.copy()
        rng = generator(self._seed, "oracle", self._samples.ids[index])
        pixels = np.bincount(mask.ravel())[: len(self._siblings)]  # of each class; void lies beyond
        wrong = components = 0
        for own in np.flatnonzero(pixels).tolist():
            siblings, here = self._siblings[own], mask == own
            # SAUF numbers components in reading order of their first pixels, whatever OpenCV's default does
            count, numbers = cv2.connectedComponentsWithAlgorithm(here.view(np.uint8), 8, cv2.CV_32S, cv2.CCL_SAUF)
            chance, choice = rng.random((2, count))  # component 0 is what is not of this class
            flips = 1 + np.flatnonzero(chance[1:] < self._rate) if len(siblings) else np.empty(0, int)
            if len(flips):
                labels = np.full(count, own, mask.dtype)
                labels[flips] = siblings[(choice[flips] * len(siblings)).astype(int)]
                np.copyto(noisy, np.take(labels, numbers), where=here)  # faster than by index
            wrong, components = wrong + len(flips), components + count - 1
        counts = np.array([wrong, components, np.count_nonzero(noisy != mask), pixels.sum()])
        return noisy.reshape(clean.shape), counts


def for_each(read: Callable[[int], None], indices: Iterable[int], description: str) -> None:
    """Call `read` for samples, in threads: the decoders let go of Python's lock. Shows how far it is."""
    every = [int(index) for index in indices]
    size = 1 + len(every) // 1000  # a million samples are not to be a million futures
    parts = [every[start : start + size] for start in range(0, len(every), size)]

    def read_part(part: Sequence[int]) -> None:
        for index in part:
            read(index)

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        for _ in progress(threads.map(read_part, parts), description, len(parts), "batch"):
            pass
