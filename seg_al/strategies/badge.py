"""BADGE: batches that are diverse and uncertain, by the gradients that the predicted labels would give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.strategies.base import Selection, Strategy, highest
from seg_al.strategies.kmeans_pp import kmeans_pp

if TYPE_CHECKING:
    from seg_al.round import Round


class BADGE(Strategy):
    """Batch active learning by diverse gradient embeddings (Ash et al., ICLR 2020, Alg. 1).

    An image's embedding is the gradient of the mean cross-entropy of its P pixels, at the model's own
    predicted labels ŷ, with respect to the last layer's weights (Eq. 1, averaged over pixels)::

        g = (1/P) Σ_p (p_p − e_ŷ) ⊗ h_p         p: probabilities, h: input of the last layer

    long where the model is unsure. A query is a k-means++ seeding of the unlabeled embeddings. It starts with
    the longest embedding, as in the authors' code, where k-means++ draws its first point uniformly. As there,
    the last layer's bias is left out. Dropout is inactive.

    The last layer is the Linear or Conv2d of the head that runs last. Embeddings of more than `dimensions`
    are projected at random; so one row of that many numbers is kept an image.

    Score: squared distance to the nearest image asked for before; of the first, the squared length of its
    embedding. Cost: one pass of the task model over the unlabeled pool, and the distances of `kmeans_pp`.

    Raises (on use):
        UserError: the head has no such layer, or predictions are not finite.
    """

    dimensions: int = 4096
    """Numbers kept an image: embeddings of more are projected to so many."""

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise UserError(f"BADGE.dimensions must be at least 1, not {self.dimensions}")

    def check(self, round: Round, wanted: int) -> None:
        """Embed an image: a head without a last layer shows."""
        self.embeddings(round.first())

    def select(self, round: Round, budget: int) -> Selection:
        """Return a k-means++ seeding of the unlabeled images' embeddings, in the order they were drawn."""
        embeddings = self.embeddings(round)
        with round.timed("select"):
            lengths = torch.linalg.vector_norm(embeddings, dim=1).double().square().numpy()
            longest = highest(lengths, 1, round.rng)
            positions, squared = kmeans_pp(embeddings, budget, int(longest.positions[0]), round.rng)
            squared[0] = longest.scores[0]
            return Selection(positions, squared)

    def embeddings(self, round: Round) -> Tensor:
        """Return a row for each unlabeled image, (N, d) float32 with d at most `dimensions`."""
        seed = int(round.rng.integers(2**63))
        projection: Projection | None = None

        def embed(images: Tensor) -> Tensor:
            nonlocal projection
            gradients = gradient_embeddings(round, images).flatten(1)
            if gradients.shape[1] <= self.dimensions:
                return gradients
            if projection is None:
                projection = Projection(gradients.shape[1], self.dimensions, seed, gradients.device)
            return projection(gradients)

        return round.map(embed, round.unlabeled)


def gradient_embeddings(round: Round, images: Tensor) -> Tensor:
    """Return each image's gradient of the cross-entropy at its predicted labels: (B, 3, H, W) to (B, C, D, ...).

    The shape behind B is that of the last layer's weight.
    """
    features = round.model.forward_features(images)  # type: ignore[operator]
    with torch.enable_grad(), watched(round.model) as last:
        probabilities = round.task.head(round.model, features)
        if not last:
            raise UserError("BADGE needs a model whose head has a Linear or Conv2d layer")
        layer, inputs, output = last["layer"], last["inputs"], last["output"]
        # Images do not meet in the head, so the gradient of their losses' sum holds that of each.
        losses = -probabilities.max(1).values.log().reshape(len(images), -1)
        (gradient,) = torch.autograd.grad(losses.mean(1).sum(), output)
    with torch.autocast(images.device.type, enabled=False):
        return weight_gradients(layer, inputs.detach().float(), gradient.float())


@contextmanager
def watched(network: nn.Module) -> Iterator[dict[str, Any]]:
    """Note the Linear or Conv2d that runs last, its input, and its output as what gradients are taken of."""
    last: dict[str, Any] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        output = output.detach().float().requires_grad_()
        last.update(layer=layer, inputs=inputs[0], output=output)
        return output

    handles = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    try:
        yield last
    finally:
        for handle in handles:
            handle.remove()


def weight_gradients(layer: nn.Linear | nn.Conv2d, inputs: Tensor, gradient: Tensor) -> Tensor:
    """Return each image's gradient of a loss with respect to a layer's weight, (B, *weight.shape).

    Args:
        inputs: of the layer, (B, ..., D), or (B, D, H, W) of a convolution.
        gradient: of the loss with respect to the layer's output, (B, ..., C) or (B, C, h, w).
    """
    if isinstance(layer, nn.Linear):
        batch = len(inputs)
        return gradient.reshape(batch, -1, layer.out_features).mT @ inputs.reshape(batch, -1, layer.in_features)
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    inputs = F.pad(inputs, layer._reversed_padding_repeated_twice, mode)
    inputs = inputs.unflatten(1, (layer.groups, -1))
    height, width = gradient.shape[-2:]
    gradient = gradient.unflatten(1, (layer.groups, -1)).flatten(3)
    taps = []  # one offset of the kernel at a time: all of them at once, unfolded, would be k² maps
    for y, x in product(range(kh), range(kw)):
        seen = inputs[..., y * dh :, x * dw :][..., : sh * height : sh, : sw * width : sw]
        taps.append((gradient @ seen.flatten(3).mT).flatten(1, 2))
    return torch.stack(taps, -1).unflatten(-1, (kh, kw))


class Projection:
    """A sparse random projection that keeps lengths and distances (Johnson-Lindenstrauss).

    Each input is added to `COPIES` of the outputs, with random signs (Kane & Nelson, J. ACM 2014); in each
    copy all outputs take equally many inputs. The expectation of squared lengths is kept, at a relative
    standard deviation of at most √(2 / outputs). Cost: `COPIES` additions a number, where a dense matrix
    takes as many as there are outputs; and unlike it, it fits into memory.
    """

    COPIES = 4

    def __init__(self, inputs: int, outputs: int, seed: int, device: torch.device) -> None:
        rng = np.random.default_rng(seed)
        self.outputs = outputs
        self.missing = -inputs % outputs  # inputs up to a multiple of the outputs, as zeros
        width = inputs + self.missing
        self.orders = [torch.from_numpy(rng.permutation(width)).to(device) for _ in range(self.COPIES)]
        signs = [rng.choice(np.array([-1, 1], np.float32), width) for _ in range(self.COPIES)]
        self.signs = [torch.from_numpy(sign / np.float32(np.sqrt(self.COPIES))).to(device) for sign in signs]

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, inputs) to (B, outputs)."""
        x = F.pad(x, (0, self.missing))
        out = x.new_zeros(len(x), self.outputs)
        for order, signs in zip(self.orders, self.signs, strict=True):
            out += (x[:, order] * signs).unflatten(1, (-1, self.outputs)).sum(1)
        return out
