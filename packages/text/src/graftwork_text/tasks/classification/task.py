"""What every classification by a pretrained transformer shares: data, batches, objective, metrics, facts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from graftwork_text.corpora import LabelledCorpus, LabelledData, LabelledExample
from graftwork_text.models.pretrained import Precision, Pretrained
from graftwork_text.tasks.classification.scoring import Batch, EncodedExamples, Scoring
from graftwork_text.tasks.fine_tuning.adaptation import Adaptation
from graftwork_text.tasks.fine_tuning.objective import Objective, accuracy, loss_of, macro_f1
from graftwork_text.tasks.fine_tuning.selection import Parts, SubsetSizes, draw_parts
from graftwork_text.tasks.fine_tuning.task import FineTuningTask, Split


class ClassificationTask(FineTuningTask):
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
        super().__init__(
            pretrained=pretrained,
            dtype=dtype,
            data_seed=data_seed,
            adaptation=adaptation,
            max_length=max_length,
            batch_size=batch_size,
            evaluation_batch_size=evaluation_batch_size,
        )
        self.corpus = corpus
        self.objective: Objective = objective
        self._sizes = sizes

    @property
    @abstractmethod
    def scoring(self) -> Scoring:
        """How labels are scored."""

    @cached_property
    def data(self) -> LabelledData:
        """All examples; read at first use."""
        return self.corpus.read()

    @cached_property
    def parts(self) -> Parts:
        """The examples of this experiment; drawn at first use."""
        return draw_parts(self.data, self._sizes, data_seed=self._data_seed)

    def encode(self, split: Split) -> EncodedExamples:
        """Tokenize the examples of a part."""
        examples: Sequence[LabelledExample] = getattr(self.parts, split)
        return self.scoring.encode(examples)

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

    @torch.no_grad()
    def _metrics(self, model: nn.Module, split: Literal["validation", "test"]) -> dict[str, float]:
        found = self._over(model, split, self._scored)
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

    def _scored(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.scoring.scores(model, batch).double(), batch["labels"]
