"""BADGE: gradient embeddings against autograd, their projection, and the query made of them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rounds import make_round
from torch import Tensor, nn

from seg_al import UserError
from seg_al.models.base import Network
from seg_al.round import Round
from seg_al.strategies.badge import BADGE, Projection, gradient_embeddings

CHANNELS, CLASSES = 8, 4


class Headed(Network):
    """A network with any head; its weights are drawn large, so that its classes and doubts differ."""

    def __init__(self, *head: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.aside = nn.Linear(3, 2)  # first and last of the modules, but never run
        self.head = nn.Sequential(*head)
        self.body = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, 2, 1), nn.BatchNorm2d(CHANNELS), nn.ReLU())
        self.beside = nn.Conv2d(3, 2, 1)
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features)


class Tokens(nn.Module):
    """Maps (B, C, h, w) to (B, h·w, C) or back again, as transformers do."""

    def __init__(self, height: int | None = None) -> None:
        super().__init__()
        self.height = height

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mT if self.height is None else x.mT.unflatten(2, (self.height, -1))


def conv(kernel: int | tuple[int, int] = 1, inputs: int = CHANNELS, **settings: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, CLASSES, kernel, **settings)  # type: ignore[arg-type]


POOLED = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
NETWORKS: dict[str, tuple[bool, list[nn.Module], int]] = {  # of whole images?, head, place of its last layer
    "linear": (True, [*POOLED, nn.Linear(CHANNELS, CLASSES)], 2),
    "linear after others": (True, [*POOLED, nn.Linear(CHANNELS, 5), nn.ReLU(), nn.Linear(5, CLASSES)], 4),
    "conv 1x1": (False, [nn.Dropout2d(0.5), conv()], 1),
    "conv 3x3": (False, [conv(3, padding=1)], 0),
    "conv 3x3 unpadded, without bias": (False, [conv(3, bias=False)], 0),
    "conv strided, dilated, oblong": (False, [conv((2, 3), stride=(2, 3), dilation=(3, 2), padding=(1, 4))], 0),
    "conv same, reflecting": (False, [conv((2, 3), padding="same", padding_mode="reflect")], 0),
    "conv of groups": (False, [conv(3, groups=2, padding=1)], 0),
    "conv, then averaged": (True, [conv(), *POOLED], 0),
    "conv, then upsampled": (False, [conv(3, padding=1), nn.Upsample(scale_factor=2, mode="bilinear")], 0),
    "linear of tokens": (False, [Tokens(), nn.Linear(CHANNELS, CLASSES), Tokens(16)], 1),
}


def round_of(name: str, **changes: object) -> tuple[Round, nn.Module]:
    """Return a round of a network above, whose weights want gradients, and its last layer."""
    classify, head, place = copy.deepcopy(NETWORKS[name])
    return make_round(model=Headed(*head).eval(), classify=classify, **changes), head[place]


def autograd_embeddings(round: Round, layer: nn.Module) -> Tensor:
    """Return the gradients of each image's mean cross-entropy at its predicted labels, image by image."""
    rows = []
    for position in range(len(round.unlabeled)):
        image = round.to_input(round.unlabeled[position][None])
        logits = round.model.forward_head(round.model.forward_features(image))  # type: ignore[operator]
        loss = F.cross_entropy(logits, logits.argmax(1))
        rows.append(torch.autograd.grad(loss, layer.weight)[0].flatten())  # type: ignore[call-overload]
    return torch.stack(rows)


@pytest.mark.parametrize("name", NETWORKS)
def test_embeddings_are_the_gradients_of_the_last_layers_weights(name: str) -> None:
    made, layer = round_of(name)
    expected = autograd_embeddings(made, layer)
    assert expected.abs().amax(1).min() > 1e-3  # no image of whose labels the network is certain
    for trainable in (True, False):
        made.model.requires_grad_(trainable)
        got = BADGE().embeddings(made)
        assert got.shape == expected.shape
        assert torch.allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is None for parameter in made.model.parameters())
    assert not any(module._forward_hooks for module in made.model.modules())


@pytest.mark.parametrize("mixed", [False, True], ids=["single precision", "mixed precision"])
def test_embeddings_are_mean_products_of_error_and_input(mixed: bool) -> None:
    """In single precision also where the network itself runs in half."""
    made, _ = round_of("conv 1x1")
    image = made.to_input(made.unlabeled[0][None])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        features = made.model.forward_features(image)  # type: ignore[operator]
        logits = made.model.forward_head(features)  # type: ignore[operator]
        got = gradient_embeddings(made, image)[0, :, :, 0, 0].numpy()
    assert logits.dtype == (torch.bfloat16 if mixed else torch.float32)
    h, z = (x[0].flatten(1).double().numpy() for x in (features, logits))
    error = np.exp(z) / np.exp(z).sum(0)
    error[z.argmax(0), np.arange(z.shape[1])] -= 1
    assert got == pytest.approx(np.einsum("cp,dp->cd", error, h) / h.shape[1], rel=1e-4, abs=1e-6)


def test_a_head_without_a_layer_is_an_error() -> None:
    made = make_round(model=Headed(nn.Identity()).eval())
    with pytest.raises(UserError, match="Linear or Conv2d"):
        BADGE().select(made, 2)
    with pytest.raises(UserError, match=r"BADGE\.dimensions must be at least 1, not 0"):
        BADGE(dimensions=0)


def test_projections_keep_squared_lengths_and_distances() -> None:
    inputs, outputs, seeds = 400, 60, 700
    rng = np.random.default_rng(0)
    dense, other = rng.normal(size=(2, inputs))
    sparse = np.zeros(inputs)
    sparse[[3, 300]] = 1.0, -2.0
    x = torch.tensor(np.stack([dense, other, sparse]), dtype=torch.float32)
    projected = torch.stack([Projection(inputs, outputs, seed, torch.device("cpu"))(x) for seed in range(seeds)])
    pairs = [(0, None), (1, None), (2, None), (0, 1), (0, 2)]
    for i, j in pairs:
        true = x[i] if j is None else x[i] - x[j]
        got = projected[:, i] if j is None else projected[:, i] - projected[:, j]
        ratio = (got.square().sum(1) / true.square().sum()).numpy()
        assert ratio.mean() == pytest.approx(1, abs=3 * np.sqrt(2 / outputs / seeds))
        assert ratio.std() < 1.15 * np.sqrt(2 / outputs)
        assert j is not None or i == 2 or ratio.std() > 0.7 * np.sqrt(2 / outputs)  # random anew by each seed


def test_longer_embeddings_are_projected_alike_in_every_batch_and_process() -> None:
    size = CLASSES * CHANNELS * 9
    full = BADGE(dimensions=size).embeddings(round_of("conv 3x3")[0])
    assert torch.allclose(full, autograd_embeddings(*round_of("conv 3x3")), rtol=1e-4, atol=1e-5)
    rows = [
        BADGE(dimensions=100).embeddings(round_of("conv 3x3", batch_size=batch_size, rng=np.random.default_rng(5))[0])
        for batch_size in (4, 32)
    ]
    assert rows[0].shape == (32, 100)
    assert torch.allclose(rows[0], rows[1], rtol=1e-4, atol=1e-5)
    ratio = torch.pdist(rows[0]) / torch.pdist(full)
    assert 0.9 < ratio.mean() < 1.1 and ratio.std() < 0.15
    another = BADGE(dimensions=100).embeddings(round_of("conv 3x3", rng=np.random.default_rng(6))[0])
    assert not torch.allclose(rows[0], another, rtol=0.1)


@pytest.mark.parametrize("name", ["linear", "conv 3x3"])
def test_a_query_starts_with_the_longest_embedding_and_spreads(name: str) -> None:
    made, layer = round_of(name)
    embeddings = autograd_embeddings(made, layer).double().numpy()
    chosen = BADGE().select(made, 10)
    lengths = (embeddings**2).sum(1)
    assert chosen.positions[0] == lengths.argmax()
    expected = [lengths.max()]
    for k in range(1, 10):
        differences = embeddings[chosen.positions[k]] - embeddings[chosen.positions[:k]]
        expected.append((differences**2).sum(1).min())
    assert chosen.scores == pytest.approx(expected, rel=1e-3)
    assert made.seconds.keys() == {"score", "select"}


def test_images_whose_gradients_are_alike_are_asked_for_once() -> None:
    four = [8, 9, 10, 11]
    made, _ = round_of("conv 3x3", unlabeled=four * 5)
    chosen = BADGE().select(made, 6)
    assert sorted(four[p % 4] for p in chosen.positions[:4]) == four
    assert (chosen.scores[:4] > 0).all() and chosen.scores[4:] == pytest.approx(0, abs=1e-9)
    assert sorted(BADGE().select(round_of("linear", unlabeled=four)[0], 4).positions.tolist()) == [0, 1, 2, 3]
