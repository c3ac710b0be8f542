"""How right predicted classes are."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def accuracy(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The share of right predictions, a scalar float32.

    Args:
        predictions: int64 [examples].
        labels: int64 [examples].
        classes: how many there are; not used.
    """
    return (predictions == labels).float().mean()


def macro_f1(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean over classes of F1 = 2 hits / (predicted + actual), a scalar float32.

    Args:
        predictions: int64 [examples].
        labels: int64 [examples].
        classes: how many there are; one that is neither predicted nor actual does not count.

    >>> import torch
    >>> round(macro_f1(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 3).item(), 4)
    0.6667
    """
    of_labels = F.one_hot(labels, classes).float()
    of_predictions = F.one_hot(predictions, classes).float()
    hits = (of_labels * of_predictions).sum(0)
    occurrences = of_labels.sum(0) + of_predictions.sum(0)
    occurs = occurrences > 0
    return (2 * hits / occurrences.clamp(min=1)).sum() / occurs.sum()
