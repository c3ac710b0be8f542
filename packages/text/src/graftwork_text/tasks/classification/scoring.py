"""What tells one way of scoring labels from another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork_text.corpora import LabelledExample
from graftwork_text.tasks.fine_tuning.encoding import Batch, Encoded


class Scoring(Protocol):
    """Scores of an example's labels, as a function of a model's weights."""

    def encode(self, examples: Sequence[LabelledExample]) -> Encoded:
        """Tokenize examples; their batches have what :meth:`scores` reads, and ``labels`` int64 [examples].

        Args:
            examples: at least one.
        """
        ...

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Score every label of every example.

        Args:
            model: as the scoring's class of transformers makes it.
            batch: of this scoring's examples, on the model's device.

        Returns:
            float32 [examples, labels]; the largest is the prediction, and their cross-entropy the loss.
        """
        ...


def labelled(
    examples: Sequence[LabelledExample],
    lengths: Sequence[int],
    inputs: Callable[[NDArray[np.int64]], Batch],
) -> Encoded:
    """Examples as token numbers, whose batches have ``labels``, int64 [examples].

    Args:
        examples: at least one.
        lengths: tokens of each.
        inputs: stacks those of some numbers, without their labels.
    """
    labels = torch.tensor([example.label for example in examples], dtype=torch.int64)
    return Encoded(lengths, lambda rows: {**inputs(rows), "labels": labels[torch.from_numpy(rows)]})
