"""Is the VAE alive, and do the scores tell more than noise?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from torch import Tensor

ACTIVE_VARIANCE = 0.01
"""A latent unit is active where the variance of its mean over the images is above this (Burda et al. 2016)."""

FLAT = 1e-4
"""Standard deviation of the scores over the pool below which a ranking by them is noise."""


def diagnose(unlabeled: Tensor, labeled: Tensor, seen: Tensor) -> dict[str, Any]:
    """Return the diagnostics of a discriminator in a latent space: all that the functions below return.

    Args:
        unlabeled, labeled: (N, 1 + 2d) rows of D's logit, μ and KL per dimension.
        seen: (N,) bool, which unlabeled images were trained on.
    """
    latent = (unlabeled.shape[1] - 1) // 2
    return {
        **latent_space(unlabeled[:, 1 : 1 + latent], unlabeled[:, 1 + latent :]),
        **separation(unlabeled[:, 0], labeled[:, 0], seen),
        **spread(unlabeled[:, 0].double().sigmoid()),
    }


def latent_space(mu: Tensor, kl: Tensor) -> dict[str, Any]:
    """Return ``active_units``, ``latent``; ``kl`` (nats an image) and ``kl_per_dim``.

    Args:
        mu, kl: (N, d) of the unlabeled images' posteriors.
    """
    mu, kl = mu.double(), kl.double()
    return {
        "active_units": int((mu.var(0, unbiased=False) > ACTIVE_VARIANCE).sum()),
        "latent": mu.shape[1],
        "kl": float(kl.sum(1).mean()),
        "kl_per_dim": kl.mean(0).tolist(),
    }


def separation(unlabeled: Tensor, labeled: Tensor, seen: Tensor) -> dict[str, float | None]:
    """Return ``auc``, of L against U, and ``auc_memorised``, of never-seen against trained-on U.

    Both are 0.5 where nothing is told apart and nothing is memorised; the second is None where all were seen.

    Args:
        unlabeled, labeled: (N,) how much an image looks labeled, e.g. D's logit.
        seen: (N,) bool, which unlabeled images were trained on.
    """
    unlabeled, labeled = unlabeled.double(), labeled.double()
    return {
        "auc": auc(labeled.numpy(), unlabeled.numpy()),
        "auc_memorised": auc(unlabeled[~seen].numpy(), unlabeled[seen].numpy()),
    }


def spread(scores: Tensor) -> dict[str, Any]:
    """Return ``score_std`` and ``score_distinct`` of (N,) scores over the pool."""
    return {
        "score_std": float(scores.std(unbiased=False)),
        "score_distinct": len(np.unique(scores.numpy())),
    }


def auc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Return the area under the ROC curve of scores of positives against negatives; None where one is empty."""
    if not len(positive) or not len(negative):
        return None
    truth = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    return float(roc_auc_score(truth, np.r_[positive, negative]))


def collapse(report: Mapping[str, Any], name: str = "VAAL") -> list[str]:
    """Return what in a report says that the scores are noise; empty where nothing does.

    Args:
        report: diagnostics, of which those that are not there say nothing.
        name: of the strategy.
    """
    found = []
    if report.get("active_units") == 0:
        found.append(f"{name}'s VAE has collapsed (0 of {report['latent']} latent units active)")
    if report.get("score_std", FLAT) < FLAT:
        found.append(f"{name}'s scores hardly differ (std {report['score_std']:.1e} over the pool)")
    return found
