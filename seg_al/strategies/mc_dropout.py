"""Monte-Carlo dropout: T stochastic passes of the task model, of which only the head runs T times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from seg_al.config import UserError
from seg_al.strategies.disagreement import deviation, mutual_information, predictive_entropy, variance
from seg_al.strategies.uncertainty import Predict, Uncertainty

if TYPE_CHECKING:
    from seg_al.round import Round


class DropoutUncertainty(Uncertainty):
    """Base of the strategies that look at T predictions of the task model with its dropout switched on.

    Dropout lives in the network's head, so the features of a batch are computed once. Pass t drops the same
    units in every image, as one draw ω_t of the network's weights (consistent dropout; Kirsch, van Amersfoort,
    Gal 2019, §4): scores are then comparable between images, and depend on neither order nor batches.
    Nothing but dropout is stochastic; all modules stay in eval mode.

    Raises (on use):
        UserError: the model has no dropout in its head.
    """

    passes: int = 10
    """T, stochastic passes of the head."""

    def __post_init__(self) -> None:
        if self.passes < 2:
            raise UserError(f"{type(self).__name__}.passes must be at least 2, not {self.passes}")

    def predictor(self, round: Round) -> Predict:
        """Return what predicts a batch T times; the seeds of the dropped units come from the round's stream."""
        layers = active_dropout(round.model)
        seeds = round.rng.integers(0, 2**62, size=self.passes).tolist()

        def predict(images: Tensor) -> Iterator[Tensor]:
            features = round.model.forward_features(images)  # type: ignore[operator]
            for seed in seeds:
                with dropping(layers, seed) as dropped:
                    prediction = round.task.head(round.model, features, self.size(images))
                if not dropped:
                    raise UserError(f"{type(self).__name__} needs a model with dropout in its head; set its dropout")
                yield prediction

        return predict


class MCDropout(DropoutUncertainty):
    """MC-Dropout: how far the probabilities of T passes with dropout scatter.

    Segmentation: Σ_c Var_t(p_tc) of each pixel (Gorriz et al. 2017). Classification (Gal & Ghahramani 2016):
    mean over classes of the standard deviation over passes, ``statistic="deviation"``. Cost: one pass of the
    task model over the unlabeled pool, and T of its head.
    """

    statistic: Literal["variance", "deviation"] = "variance"
    """Sum over classes of the variances, or mean over classes of the standard deviations."""

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        """Return Σ_c Var_t(p_tc), or mean_c Std_t(p_tc)."""
        return {"variance": variance, "deviation": deviation}[self.statistic](predictions)


class DBAL(DropoutUncertainty):
    """Deep Bayesian active learning, max entropy: H(p̄), p̄ the mean of T passes with dropout (Gal et al. 2017).

    Cost: one pass of the task model over the unlabeled pool, and T of its head.
    """

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        """Return H(p̄) in nats, in [0, log C]."""
        return predictive_entropy(predictions)


class BALD(DropoutUncertainty):
    """BALD: H(p̄) − mean_t H(p_t), what a label would tell about the weights (Houlsby et al. 2011; Gal et al. 2017).

    Cost: one pass of the task model over the unlabeled pool, and T of its head.
    """

    def uncertainty(self, predictions: Iterable[Tensor]) -> Tensor:
        """Return the mutual information of label and weights in nats, in [0, log T]."""
        return mutual_information(predictions)


def active_dropout(network: nn.Module) -> list[_DropoutNd]:
    """Return a network's dropout layers that drop anything, in the order of its modules."""
    return [module for module in network.modules() if isinstance(module, _DropoutNd) and module.p > 0]


@contextmanager
def dropping(layers: Sequence[_DropoutNd], seed: int) -> Iterator[set[_DropoutNd]]:
    """Let dropout layers in eval mode drop the units that `seed` says, alike for every image of every batch.

    Modes are not touched, so there is nothing to restore: neither BatchNorm nor dropout is ever in training
    mode. Yields the layers that dropped, filled while the network runs.
    """
    dropped: set[_DropoutNd] = set()

    def hook(place: int) -> Any:
        def drop(layer: _DropoutNd, _: Any, output: Tensor) -> Tensor:
            dropped.add(layer)
            # nn.Dropout drops single values, Dropout2d and its like whole channels
            single = isinstance(layer, nn.Dropout)
            shape = output.shape[1:] if single else (output.shape[1], *(1 for _ in output.shape[2:]))
            generator = torch.Generator().manual_seed((seed + place) % 2**63)
            kept = torch.rand(shape, generator=generator) >= layer.p
            return output * (kept.to(output) / (1 - layer.p))

        return drop

    handles = [layer.register_forward_hook(hook(place)) for place, layer in enumerate(layers)]
    try:
        yield dropped
    finally:
        for handle in handles:
            handle.remove()
