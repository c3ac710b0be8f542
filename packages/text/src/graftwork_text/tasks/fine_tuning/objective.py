"""From scores to a number: the training objectives, and the metrics of a whole part.

``cross-entropy`` has a gradient. ``accuracy`` and ``f1`` (the mean of the classes' F1, over the classes that
occur in the labels or in the predictions) are piecewise constant, so their negatives are objectives for
optimizers that only evaluate the loss.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from graftwork.errors import GraftworkError

Objective = Literal["cross-entropy", "accuracy", "f1"]


def loss_of(scores: Tensor, labels: Tensor, objective: Objective) -> Tensor:
    """The number to be made small, a scalar float32.

    Args:
        scores: [examples, labels].
        labels: int64 [examples].
        objective: which one.

    Raises:
        GraftworkError: the objective has no gradient, and one is being recorded.

    >>> scores = torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    >>> round(loss_of(scores, torch.tensor([1, 0]), "cross-entropy").item(), 4)
    1.2201
    """
    if objective == "cross-entropy":
        return F.cross_entropy(scores.float(), labels)
    refuse_gradient(objective)
    predictions = scores.argmax(1)
    measure = accuracy if objective == "accuracy" else macro_f1
    return -measure(predictions, labels, scores.shape[1])


def refuse_gradient(objective: Objective) -> None:
    """Stop where a gradient of an objective is being recorded that has none.

    Args:
        objective: which one.

    Raises:
        GraftworkError: autograd is recording.

    >>> with torch.no_grad():
    ...     refuse_gradient("f1")
    """
    if torch.is_grad_enabled():
        raise GraftworkError(
            f"task.objective = {objective!r} has no gradient, and the optimizer asks for one; choose an "
            "optimizer that only evaluates the loss (optimizer.name = 'lozo') or objective = 'cross-entropy'"
        )


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

    >>> round(macro_f1(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 3).item(), 4)
    0.6667
    """
    of_labels = F.one_hot(labels, classes).float()
    of_predictions = F.one_hot(predictions, classes).float()
    hits = (of_labels * of_predictions).sum(0)
    occurrences = of_labels.sum(0) + of_predictions.sum(0)
    occurs = occurrences > 0
    return (2 * hits / occurrences.clamp(min=1)).sum() / occurs.sum()
