"""Statistics of several predictions of the same images: T passes with dropout, or N members of a committee.

Predictions come one at a time, each (B, C, ...) probabilities, and only sums are kept, so that memory does
not grow with their number. All statistics are (B, ...), and higher means more uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy H in nats over the class axis: (B, C, ...) to (B, ...); 0·log 0 counts as 0."""
    return torch.special.entr(probabilities).sum(1)


def predictive_entropy(predictions: Iterable[Tensor]) -> Tensor:
    """Return H(p̄), the entropy of the mean prediction, in [0, log C]."""
    return entropy(_means(predictions)[0])


def mutual_information(predictions: Iterable[Tensor]) -> Tensor:
    """Return H(p̄) − mean_t H(p_t), in [0, log T].

    The mutual information of label and weights (BALD, Houlsby et al. 2011), and the Jensen-Shannon
    divergence of a committee: one formula under two names.
    """
    mean, mean_entropy = _means(predictions)
    return (entropy(mean) - mean_entropy).clamp(min=0)  # rounding can take it below


def variance(predictions: Iterable[Tensor]) -> Tensor:
    """Return Σ_c Var_t(p_tc), with the population variance (divided by T)."""
    return _variances(predictions).sum(1)


def deviation(predictions: Iterable[Tensor]) -> Tensor:
    """Return the mean over classes of the standard deviation of p_tc over t (divided by T)."""
    return _variances(predictions).sqrt().mean(1)


def variation_ratio(predictions: Iterable[Tensor]) -> Tensor:
    """Return 1 − f_mode / N, the share of predictions that do not vote for the most voted class (Freeman 1965)."""
    votes: Tensor | None = None
    count = 0
    for prediction in predictions:
        if votes is None:
            votes = torch.zeros_like(prediction)
        winner = prediction.argmax(1, keepdim=True)
        votes.scatter_add_(1, winner, torch.ones_like(winner, dtype=votes.dtype))
        count += 1
    assert votes is not None, "no predictions"
    return 1 - votes.amax(1) / count


def _means(predictions: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return p̄ and mean_t H(p_t)."""
    total: Tensor | None = None
    entropies: Tensor | None = None
    count = 0
    for prediction in predictions:
        total = prediction.clone() if total is None else total.add_(prediction)
        own = entropy(prediction)
        entropies = own if entropies is None else entropies.add_(own)
        count += 1
    assert total is not None and entropies is not None, "no predictions"
    return total / count, entropies / count


def _variances(predictions: Iterable[Tensor]) -> Tensor:
    """Return Var_t(p_tc), (B, C, ...): Welford's running form, as a difference of squares would cancel."""
    mean: Tensor | None = None
    squares: Tensor | None = None
    count = 0
    for prediction in predictions:
        count += 1
        if mean is None or squares is None:
            mean, squares = prediction.clone(), torch.zeros_like(prediction)
            continue
        delta = prediction - mean
        mean += delta / count
        squares += delta * (prediction - mean)
    assert squares is not None, "no predictions"
    return squares / count
