"""What every fine-tuning of a pretrained transformer on examples shares: tokenizer, batches, evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from graftwork_text.models.pretrained import Precision, Pretrained
from graftwork_text.tasks.classification.scoring import Batch, EncodedExamples, shortest_first
from graftwork_text.tasks.fine_tuning.adaptation import Adaptation
from graftwork_text.tasks.fine_tuning.encoding import TextEncoder
from graftwork_text.tasks.language_model.packing import OrderedPass, TrainingStream

Split = Literal["train", "validation", "test"]
_Measured = TypeVar("_Measured")


class FineTuningTask(ABC):
    """A pretrained model and examples that a subclass encodes.

    Args:
        pretrained: the model.
        dtype: of its weights.
        data_seed: draws the examples.
        adaptation: which parameters are trained.
        max_length: tokens of a sequence at most; the model may allow fewer.
        batch_size: examples in a batch of one process.
        evaluation_batch_size: examples in a batch of an evaluation.

    Raises:
        ValueError: an option is out of its range.
    """

    unit = "examples"

    def __init__(
        self,
        *,
        pretrained: Pretrained,
        dtype: Precision,
        data_seed: int,
        adaptation: Adaptation,
        max_length: int,
        batch_size: int,
        evaluation_batch_size: int,
    ) -> None:
        at_least = {
            "data_seed": (data_seed, 0),
            "max_length": (max_length, 8),
            "batch_size": (batch_size, 1),
            "evaluation_batch_size": (evaluation_batch_size, 1),
        }
        for option, (value, least) in at_least.items():
            if value < least:
                raise ValueError(f"{option} must be at least {least}, got {value}")
        self.pretrained = pretrained
        self.dtype: Precision = dtype
        self.adaptation = adaptation
        self._data_seed = data_seed
        self._max_length = max_length
        self._batch_size = batch_size
        self._evaluation_batch_size = evaluation_batch_size
        self._encoded: dict[str, _Ordered] = {}

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return the pretrained model, frozen and adapted as the options say."""

    @abstractmethod
    def encode(self, split: Split) -> EncodedExamples:
        """Tokenize the examples of a part."""

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own."""
        return self.pretrained.tokenizer()

    @cached_property
    def encoder(self) -> TextEncoder:
        """The tokenizer's parts; sequences are no longer than the model allows."""
        return TextEncoder(self.tokenizer, self.max_length)

    @cached_property
    def max_length(self) -> int:
        """Tokens of a sequence at most."""
        config = self.pretrained.config()
        positions = int(getattr(config, "max_position_embeddings", None) or self._max_length)
        # RoBERTa's kind keeps the first positions for padding, and its tokenizer knows.
        limit = min(positions, int(self.tokenizer.model_max_length))
        return min(self._max_length, limit)

    def batches(self, split: Split, *, rank: int, world_size: int, seed: int) -> Iterable[Batch]:
        """Return this rank's batches, on the CPU.

        Args:
            split: ``train`` without end, each epoch in a new order (the iterator has ``skip(count)``);
                ``validation`` and ``test`` once, short examples first.
            rank: this process, from 0.
            world_size: number of processes; their batches are disjoint.
            seed: of the training order.

        Raises:
            ValueError: there is no such split.
        """
        if split not in ("train", "validation", "test"):
            raise ValueError(f"split must be 'train', 'validation' or 'test', got {split!r}")
        examples = self._examples(split)
        if split == "train":
            return TrainingStream(
                examples, batch_size=self._batch_size, rank=rank, world_size=world_size, seed=seed
            )
        return OrderedPass(
            examples,
            count=len(examples),
            batch_size=self._evaluation_batch_size,
            rank=rank,
            world_size=world_size,
        )

    def _examples(self, split: Split) -> _Ordered:
        if split not in self._encoded:
            encoded = self.encode(split)
            # Training shuffles anyway; an evaluation pads less.
            self._encoded[split] = _Ordered(encoded, shortest_first(encoded.lengths))
        return self._encoded[split]

    @torch.no_grad()
    def _over(
        self,
        model: nn.Module,
        split: Literal["validation", "test"],
        measure: Callable[[nn.Module, Batch], _Measured],
    ) -> list[_Measured]:
        """Measure every batch of a part on the model's device, in evaluation mode."""
        device = next(model.parameters()).device
        was_training = model.training
        model.eval()
        try:
            return [
                measure(model, {name: tensor.to(device) for name, tensor in batch.items()})
                for batch in self.batches(split, rank=0, world_size=1, seed=0)
            ]
        finally:
            model.train(was_training)


class _Ordered:
    """Examples in another order.

    Args:
        examples: what is ordered.
        order: [examples], their numbers.
    """

    def __init__(self, examples: EncodedExamples, order: NDArray[np.int64]) -> None:
        self._examples = examples
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        return self._examples.batch(self._order[rows])
