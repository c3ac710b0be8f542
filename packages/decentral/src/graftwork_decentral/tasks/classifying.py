"""What classification tasks share: batches of features and labels, cross-entropy, accuracy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork_decentral.tasks.images import Images

_EVALUATED_AT_ONCE = 1024


def image_batch(images: Images, rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """Return ``features`` and ``labels`` of some images."""
    return {
        "features": torch.from_numpy(images.features[rows]),
        "labels": torch.from_numpy(images.labels[rows]),
    }


def classification_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean cross-entropy in nats, and the accuracy as a further metric."""
    logits: Tensor = model(batch["features"])
    accuracy = (logits.detach().argmax(1) == batch["labels"]).float().mean()
    return F.cross_entropy(logits.float(), batch["labels"]), {"accuracy": accuracy}


@torch.no_grad()
def classification_metrics(model: nn.Module, images: Images) -> dict[str, float]:
    """Return ``loss`` (nats) and ``accuracy`` over images; the model's training mode is restored."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    loss = right = 0.0
    try:
        for start in range(0, len(images), _EVALUATED_AT_ONCE):
            rows = np.arange(start, min(start + _EVALUATED_AT_ONCE, len(images)))
            batch = {name: tensor.to(device) for name, tensor in image_batch(images, rows).items()}
            logits: Tensor = model(batch["features"])
            loss += float(F.cross_entropy(logits.float(), batch["labels"], reduction="sum"))
            right += float((logits.argmax(1) == batch["labels"]).sum())
    finally:
        model.train(was_training)
    return {"loss": loss / len(images), "accuracy": right / len(images)}


def area_under_curve(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the chance that a positive has a higher score than a negative; ties count half.

    >>> area_under_curve(np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True]))
    0.75
    """
    ordered, places = np.unique(scores, return_inverse=True)
    counts = np.bincount(places, minlength=len(ordered))
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positives = int(positive.sum())
    negatives = len(positive) - positives
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
