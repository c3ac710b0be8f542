"""What every classification by a pretrained transformer shares: data, batches, objective, metrics, facts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork_trainer.corpora import LabelledCorpus, LabelledData, LabelledExample
from graftwork_trainer.models.pretrained import Precision, Pretrained
from graftwork_trainer.tasks.classification.adaptation import Adaptation
from graftwork_trainer.tasks.classification.encoding import TextEncoder
from graftwork_trainer.tasks.classification.objective import Objective, accuracy, loss_of, macro_f1
from graftwork_trainer.tasks.classification.scoring import Batch, EncodedExamples, Scoring, shortest_first
from graftwork_trainer.tasks.classification.subsets import Parts, SubsetSizes, draw_parts
from graftwork_trainer.tasks.packing import OrderedPass, TrainingStream


class ClassificationTask(ABC):
    """A pretrained model, labelled text, and a way of scoring labels that a subclass chooses.

    Args:
        pretrained: the model.
        dtype: of its weights.
        corpus: the labelled text.
        sizes: how many examples each part gets.
        data_seed: draws them.
        adaptation: which parameters are trained.
        objective: what is made small.
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
        corpus: LabelledCorpus,
        sizes: SubsetSizes,
        data_seed: int,
        adaptation: Adaptation,
        objective: Objective,
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
        self.corpus = corpus
        self.adaptation = adaptation
        self.objective: Objective = objective
        self._sizes = sizes
        self._data_seed = data_seed
        self._max_length = max_length
        self._batch_size = batch_size
        self._evaluation_batch_size = evaluation_batch_size
        self._encoded: dict[str, _Ordered] = {}

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return the pretrained model, frozen and adapted as the options say."""

    @property
    @abstractmethod
    def scoring(self) -> Scoring:
        """How labels are scored."""

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

    @cached_property
    def data(self) -> LabelledData:
        """All examples; read at first use."""
        return self.corpus.read()

    @cached_property
    def parts(self) -> Parts:
        """The examples of this experiment; drawn at first use."""
        return draw_parts(self.data, self._sizes, data_seed=self._data_seed)

    def batches(
        self, split: Literal["train", "validation", "test"], *, rank: int, world_size: int, seed: int
    ) -> Iterable[Batch]:
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

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the objective on a batch, and the batch's accuracy.

        Args:
            model: on the batch's device.
            batch: of :meth:`batches`.

        Raises:
            GraftworkError: the objective has no gradient, and one is being recorded.
        """
        scores = self.scoring.scores(model, batch)
        labels = batch["labels"]
        hits = accuracy(scores.detach().argmax(1), labels, scores.shape[1])
        return loss_of(scores, labels, self.objective), {"accuracy": hits}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return ``loss`` (the objective), ``accuracy`` and ``macro_f1`` on the validation examples.

        Where the objective is another, ``cross_entropy`` is there too. Every example weighs the same.

        Args:
            model: on any device; its training mode is restored.
        """
        return self._metrics(model, "validation")

    def test_metrics(self, model: nn.Module) -> dict[str, float]:
        """Return the same metrics on the test examples, which nothing else reads.

        Args:
            model: on any device; its training mode is restored.
        """
        return self._metrics(model, "test")

    def count(self, batch: Mapping[str, Tensor]) -> int:
        """How many examples a batch holds."""
        return batch["labels"].numel()

    def facts(self) -> dict[str, str | int | float]:
        """What data and model are: names, versions, digests and sizes, as plain data."""
        parts = self.parts
        return {
            "corpus": self.corpus.name,
            **{f"corpus_{name}": value for name, value in self.corpus.identity.items()},
            "labels": ", ".join(self.data.labels),
            "train_examples": len(parts.train),
            "validation_examples": len(parts.validation),
            "test_examples": len(parts.test),
            "data_seed": self._data_seed,
            "examples_sha256": parts.digest(),
            "model": self.pretrained.name,
            **{f"model_{name}": value for name, value in self.pretrained.identity.items()},
            "max_length": self.max_length,
        }

    def _examples(self, split: str) -> _Ordered:
        if split not in self._encoded:
            examples: Sequence[LabelledExample] = getattr(self.parts, split)
            encoded = self.scoring.encode(examples)
            # Training shuffles anyway; an evaluation pads less.
            self._encoded[split] = _Ordered(encoded, shortest_first(encoded.lengths))
        return self._encoded[split]

    @torch.no_grad()
    def _metrics(self, model: nn.Module, split: Literal["validation", "test"]) -> dict[str, float]:
        device = next(model.parameters()).device
        was_training = model.training
        model.eval()
        try:
            found = [self._scored(model, batch, device) for batch in self._pass(split)]
        finally:
            model.train(was_training)
        scores, labels = (torch.cat(pieces) for pieces in zip(*found, strict=True))
        predictions, classes = scores.argmax(1), scores.shape[1]
        metrics = {
            "loss": loss_of(scores, labels, self.objective),
            "accuracy": accuracy(predictions, labels, classes),
            "macro_f1": macro_f1(predictions, labels, classes),
        }
        if self.objective != "cross-entropy":
            metrics["cross_entropy"] = loss_of(scores, labels, "cross-entropy")
        return {name: value.item() for name, value in metrics.items()}

    def _pass(self, split: Literal["validation", "test"]) -> Iterator[Batch]:
        yield from self.batches(split, rank=0, world_size=1, seed=0)

    def _scored(self, model: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        moved = {name: tensor.to(device) for name, tensor in batch.items()}
        return self.scoring.scores(model, moved).double(), moved["labels"]


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
