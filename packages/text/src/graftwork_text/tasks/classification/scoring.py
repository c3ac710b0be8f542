"""What tells one way of scoring labels from another, and what the ways share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork_text.corpora import LabelledExample

Batch = dict[str, Tensor]


class EncodedExamples(Protocol):
    """Examples as token numbers, ready to be stacked.

    Attributes:
        lengths: tokens of each example.
    """

    lengths: list[int]

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Stack some examples.

        Args:
            rows: [examples], which ones.

        Returns:
            Tensors on the CPU, ``labels`` int64 [examples] among them.
        """
        ...


class Scoring(Protocol):
    """Scores of an example's labels, as a function of a model's weights."""

    def encode(self, examples: Sequence[LabelledExample]) -> EncodedExamples:
        """Tokenize examples."""
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


def accepts(model: nn.Module, option: str) -> bool:
    """Whether a model's forward has a parameter of this name.

    Args:
        model: bare, or inside DistributedDataParallel.
        option: the parameter.
    """
    inner: Any = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    # Of the class: what a hook puts in the instance's place may take anything.
    return option in _parameters_of(type(inner).forward)


@cache
def _parameters_of(forward: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(forward).parameters)


def shortest_first(lengths: Sequence[int]) -> NDArray[np.int64]:
    """An order of examples in which those of one batch need little padding; [examples]."""
    return np.argsort(np.asarray(lengths), kind="stable")
