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
from graftwork_trainer.class_measures import accuracy, macro_f1

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
