"""Is the VAE alive, and does the discriminator tell more than noise?"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from torch import Tensor

ACTIVE_VARIANCE = 0.01
"""A latent unit is active where the variance of its mean over the images is above this (Burda et al. 2016)."""

FLAT = 1e-4
"""Standard deviation of D(μ) over the pool below which a ranking by it is noise."""


def diagnose(unlabeled: Tensor, labeled: Tensor, seen: Tensor) -> dict[str, Any]:
    """Return VAAL's diagnostics.

    Args:
        unlabeled, labeled: (N, 1 + 2d) rows of D's logit, μ and KL per dimension.
        seen: (N,) bool, which unlabeled images were trained on.

    Returns:
        ``active_units``, ``latent``; ``kl`` (nats an image) and ``kl_per_dim``; ``auc`` of D on L against U;
        ``auc_memorised`` of D on never-seen against trained-on U (0.5: none memorised; None where all were
        seen); ``score_std`` and ``score_distinct`` of D(μ) over the pool.
    """
    latent = (unlabeled.shape[1] - 1) // 2
    logits, mu, kl = (
        unlabeled[:, 0].double(),
        unlabeled[:, 1 : 1 + latent].double(),
        unlabeled[:, 1 + latent :].double(),
    )
    labeled_logits = labeled[:, 0].double()
    scores = logits.sigmoid()
    return {
        "active_units": int((mu.var(0, unbiased=False) > ACTIVE_VARIANCE).sum()),
        "latent": latent,
        "kl": float(kl.sum(1).mean()),
        "kl_per_dim": kl.mean(0).tolist(),
        "auc": auc(labeled_logits.numpy(), logits.numpy()),
        "auc_memorised": auc(logits[~seen].numpy(), logits[seen].numpy()),
        "score_std": float(scores.std(unbiased=False)),
        "score_distinct": len(np.unique(scores.numpy())),
    }


def auc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Return the area under the ROC curve of scores of positives against negatives; None where one is empty."""
    if not len(positive) or not len(negative):
        return None
    truth = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    return float(roc_auc_score(truth, np.r_[positive, negative]))


def collapse(report: dict[str, Any]) -> list[str]:
    """Return what in a report says that the scores are noise; empty where nothing does."""
    found = []
    if report["active_units"] == 0:
        found.append(f"VAAL's VAE has collapsed (0 of {report['latent']} latent units active)")
    if report["score_std"] < FLAT:
        found.append(f"VAAL's scores hardly differ (std of D(μ) {report['score_std']:.1e} over the pool)")
    return found
