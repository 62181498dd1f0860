"""Views of a data set as PyTorch reads them: images alone to score, images with labels to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from seg_al.config import UserError
from seg_al.data.base import Dataset, Samples
from seg_al.data.transforms import Transform, evaluation_transform, training_transform
from seg_al.streams import Key, generator

Draw = tuple[int, int]
"""A position in a view and the seed of its augmentation."""


class ImageView(TorchDataset):
    """Images of some samples, in a fixed order, without a way to their labels.

    ``view[i]`` is the i-th image as a (3, H, W) uint8 tensor under the evaluation transform;
    ``view.image(i)`` the same at its own resolution, (H, W, 3) uint8 RGB.
    """

    def __init__(
        self,
        read: Callable[[int], np.ndarray],
        ids: Sequence[str],
        indices: Sequence[int] | np.ndarray,
        size: tuple[int, int] | None,
        flip: bool = False,
        center_crop: bool = False,
    ) -> None:
        self._read = read
        self._all_ids = ids
        self.indices = np.asarray(indices, dtype=np.int64)
        self.size = size
        self._flip, self._center_crop = flip, center_crop
        self._transform = evaluation_transform(size, flip, center_crop)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def ids(self) -> list[str]:
        """Sample ids, in the order of the view."""
        return [self._all_ids[i] for i in self.indices]

    def image(self, position: int) -> np.ndarray:
        """Return an image at its own resolution, (H, W, 3) uint8 RGB."""
        return self._read(int(self.indices[position]))

    def __getitem__(self, draw: int | Draw) -> Tensor:
        position, seed = draw if isinstance(draw, tuple) else (int(draw), 0)
        return to_tensor(self._transform(self.image(position), seed=seed)["image"])

    def at(self, size: tuple[int, int] | None, flip: bool = False) -> ImageView:
        """Return the same images at another input size; `flip` mirrors half of the draws, for training."""
        return ImageView(self._read, self._all_ids, self.indices, size, flip, self._center_crop)

    def subset(self, positions: Sequence[int] | np.ndarray) -> ImageView:
        """Return the images at these positions of the view, in that order."""
        indices = self.indices[np.asarray(positions)]
        return ImageView(self._read, self._all_ids, indices, self.size, self._flip, self._center_crop)


def evaluation_images(dataset: Any, samples: Samples, indices: Sequence[int] | np.ndarray) -> ImageView:
    """Return images of a data set's samples alone, under its evaluation transform."""
    return ImageView(samples.image, samples.ids, indices, dataset.input_size, center_crop=dataset.center_crop)


class LabeledView(TorchDataset):
    """Labeled samples under the training transform: draws of image (3, H, W) uint8 and target int64.

    A target is the classes of the pixels (H, W), or that of the image ().

    Args:
        read_target: gives the label of a sample index; the oracle's, for the pool.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Samples,
        read_target: Callable[[int], np.ndarray],
        indices: Sequence[int],
    ) -> None:
        self._samples = samples
        self._read_target = read_target
        self._indices = np.asarray(indices, dtype=np.int64)
        self._transform: Transform = training_transform(dataset)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        position, seed = draw
        index = int(self._indices[position])
        pair = self._transform(self._samples.image(index), self._read_target(index), seed)
        # not ascontiguousarray, which gives a class () the shape (1,)
        return to_tensor(pair["image"]), torch.from_numpy(np.asarray(pair["target"], order="C")).long()


class EvaluationView(TorchDataset):
    """A split to evaluate on: images at the network's size and targets at their own resolution."""

    def __init__(self, dataset: Any, samples: Samples) -> None:
        self._samples = samples
        self._transform = evaluation_transform(dataset.input_size, center_crop=dataset.center_crop)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        target = self._samples.target(index)
        assert target is not None, self._samples.ids[index]
        return to_tensor(self._transform(self._samples.image(index))["image"]), torch.from_numpy(np.asarray(target))


def to_tensor(image: np.ndarray) -> Tensor:
    """Turn an image (H, W, 3) uint8 into a contiguous (3, H, W) uint8 tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def to_input(images: Tensor, device: torch.device | str) -> Tensor:
    """Move uint8 images to the device and scale them to [0, 1]: the networks' input contract."""
    return images.to(device, non_blocking=True).float().div_(255)


class Draws:
    """Batches of draws for some epochs, for ``DataLoader(batch_sampler=...)``; equal on every machine.

    All of `count` positions come once before any comes again, and every batch is full. An epoch's draws and
    the seeds of its augmentations depend on (key, epoch) alone, so that neither workers nor resuming change
    them; of each batch a process takes its share, in `parts` pieces.
    """

    def __init__(
        self, key: tuple[Key, ...], count: int, batch_size: int, steps: int, epochs: range,
        rank: int = 0, world: int = 1, parts: int = 1,
    ) -> None:  # fmt: skip
        self.key, self.count, self.batch_size, self.steps, self.epochs = key, count, batch_size, steps, epochs
        self.rank, self.world, self.parts = rank, world, parts

    def __iter__(self) -> Iterator[list[Draw]]:
        for epoch in self.epochs:
            rng = generator(*self.key, epoch)
            wanted = self.steps * self.batch_size
            positions = np.concatenate([rng.permutation(self.count) for _ in range(-(-wanted // self.count))])
            seeds = rng.integers(0, 2**31, size=wanted)
            for start in range(0, wanted, self.batch_size):
                mine = range(start + self.rank, start + self.batch_size, self.world)
                batch = [(int(positions[i]), int(seeds[i])) for i in mine]
                for part in range(self.parts):
                    yield batch[part :: self.parts]


def load_draws(view: TorchDataset, draws: Draws, workers: int) -> Iterator[Any]:
    """Load batches of draws in order, stacked.

    Raises:
        UserError: (when drawn) images of one batch differ in size.
    """
    return iter(DataLoader(view, batch_sampler=draws, num_workers=workers, collate_fn=_stacked))


def load_in_order(view: TorchDataset, batches: Sequence[Sequence[int]], workers: int) -> Iterator[list[Any]]:
    """Load the given batches of positions in order, each as groups of ``(rows, *stacked tensors)``.

    Images of one batch may differ in size; a group holds those that can be stacked, and ``rows`` their
    places in the batch.
    """
    return iter(DataLoader(view, batch_sampler=batches, num_workers=workers, collate_fn=_by_shape))  # type: ignore[arg-type]


def _stacked(items: list[Any]) -> Any:
    shapes = {(item[0] if isinstance(item, tuple) else item).shape[-2:] for item in items}
    if len(shapes) > 1:
        sizes = " and ".join(f"{height}x{width}" for height, width in sorted(shapes)[:2])
        raise UserError(f"images of {sizes} cannot be in one batch; give the data set a size=(height, width)")
    return default_collate(items)


def _by_shape(items: list[Any]) -> list[Any]:
    parts = [item if isinstance(item, tuple) else (item,) for item in items]
    groups: dict[tuple[torch.Size, ...], list[int]] = {}
    for row, part in enumerate(parts):
        groups.setdefault(tuple(tensor.shape for tensor in part), []).append(row)
    return [
        (rows, *(torch.stack([parts[row][k] for row in rows]) for k in range(len(parts[0]))))
        for rows in groups.values()
    ]
