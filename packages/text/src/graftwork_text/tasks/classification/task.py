"""What every classification by a pretrained transformer shares: data, objective, metrics, artefacts."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from graftwork import Direction, GraftworkError
from graftwork_text.corpora import LabelledCorpus, LabelledData, LabelledExample
from graftwork_text.corpora.remarks import Remark
from graftwork_text.sources import smallest
from graftwork_text.tasks.classification.mistakes import write_mistakes
from graftwork_text.tasks.classification.scoring import Scoring
from graftwork_text.tasks.fine_tuning.encoding import Batch, Encoded
from graftwork_text.tasks.fine_tuning.objective import loss_of
from graftwork_text.tasks.fine_tuning.selection import ClassSelection, Parts, Split, draw_parts
from graftwork_text.tasks.fine_tuning.task import FineTuningTask, texts_in
from graftwork_trainer.class_measures import accuracy, macro_f1
from graftwork_trainer.device import move
from graftwork_trainer.evaluation import device_of, rows_of
from graftwork_trainer.plain_json import read_json
from graftwork_trainer.tables import write_confusion_matrix

_LABELS = "labels.json"
_MOST_SHOWN = 3


class ClassificationTask(FineTuningTask[LabelledExample]):
    """A pretrained model, labelled text, and a way of scoring labels that a subclass chooses.

    Rows hold the ``scores`` of the labels, float32 [examples, labels], and the ``labels`` [examples].
    """

    metric_directions: ClassVar[Mapping[str, Direction]] = {
        "accuracy": "higher",
        "macro_f1": "higher",
        "loss": "lower",
        "cross_entropy": "lower",
    }
    corpus: LabelledCorpus
    _selection: ClassSelection
    _labels: tuple[str, ...] | None = None

    @classmethod
    def smallest(cls, folder: Path) -> dict[str, object]:
        """Return options with which it trains in seconds, on data that is made in the folder."""
        return smallest.fine_tuning(folder, smallest.labelled(folder))

    @property
    @abstractmethod
    def scoring(self) -> Scoring:
        """How labels are scored."""

    @cached_property
    def data(self) -> LabelledData:
        """All examples; read at first use."""
        data = self.corpus.read()
        if self._labels is not None:
            data = data.numbered_by(self._labels)
        if len(data.labels) < 2:
            learnt = f"; the model has learnt {', '.join(map(repr, self._labels))}" if self._labels else ""
            raise GraftworkError(
                f"{self.corpus.name}: holds {len(data.labels)} different label(s) "
                f"({', '.join(data.labels) or 'none'}), and at least 2 are needed{learnt}"
            )
        return data

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer, and ``labels.json``, the names of the labels in the order of their numbers."""
        super().save_assets(folder)
        (folder / _LABELS).write_text(json.dumps(self.data.labels, indent=1) + "\n", "utf-8")

    def load_assets(self, folder: Path) -> None:
        """Number the labels as those were that the weights in use have learnt.

        Args:
            folder: that may have a ``labels.json``.

        Raises:
            GraftworkError: it is no list of names.
        """
        if (file := folder / _LABELS).is_file():
            labels = read_json(file)
            if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
                raise GraftworkError(f"{file}: expected a list of the labels' names, got {labels!r:.80}")
            self._labels = tuple(labels)

    def draw(self) -> Parts[LabelledExample]:
        """Draw the examples of this experiment."""
        return draw_parts(self.data, self._selection, where=f"task.data = {self.corpus.name!r}")

    def remarks(self, parts: Parts[LabelledExample]) -> Sequence[Remark]:
        """What was found in the data, and which classes are only held out."""
        return [*self.data.remarks, *_unlearnt(parts, self.data.labels)]

    def encode(self, split: Split) -> Encoded:
        """Tokenize the examples of a part."""
        return self.scoring.encode(self.parts.of(split))

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

    def evaluate_rows(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return ``scores`` and ``labels`` of each example, and its number."""
        scores = self.scoring.scores(model, batch)
        return {"sample": batch["sample"], "scores": scores, "labels": batch["labels"]}

    def metrics(self, rows: Mapping[str, Tensor]) -> dict[str, float]:
        """Return ``loss`` (the objective), ``accuracy`` and ``macro_f1`` of all examples.

        Where the objective is another, ``cross_entropy`` is there too. Every example weighs the same.
        """
        scores, labels = rows["scores"], rows["labels"]
        predictions, classes = scores.argmax(1), scores.shape[1]
        metrics = {
            "loss": loss_of(scores, labels, self.objective),
            "accuracy": accuracy(predictions, labels, classes),
            "macro_f1": macro_f1(predictions, labels, classes),
        }
        if self.objective != "cross-entropy":
            metrics["cross_entropy"] = loss_of(scores, labels, "cross-entropy")
        return {name: value.item() for name, value in metrics.items()}

    def predict(self, model: nn.Module, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the label that is ``predicted`` for each input, and the probability of every label.

        Args:
            model: in evaluation mode.
            inputs: rows with the columns of text.

        Raises:
            GraftworkError: a row lacks one.
        """
        examples = [LabelledExample(texts_in(row, self.corpus.fields), 0) for row in inputs]
        batch = move(self.scoring.encode(examples).batch(np.arange(len(examples))), device_of(model))
        probabilities = self.scoring.scores(model, batch).double().softmax(1)
        names = self.data.labels
        return [
            {
                "predicted": names[max(range(len(row)), key=row.__getitem__)],
                **{f"probability_{name}": value for name, value in zip(names, row, strict=True)},
            }
            for row in probabilities.tolist()
        ]

    def artefacts(self, model: nn.Module, folder: Path) -> None:
        """Write ``confusion-matrix.csv`` and ``mistakes.csv``, over the validation examples.

        Args:
            model: in evaluation mode.
            folder: that exists.
        """
        rows = rows_of(self, model, "validation")
        scores, labels = rows["scores"], rows["labels"]
        examples = [self.parts.validation[number] for number in rows["sample"].tolist()]
        write_confusion_matrix(folder / "confusion-matrix.csv", scores.argmax(1), labels, self.data.labels)
        write_mistakes(folder / "mistakes.csv", scores, examples, self.data.labels)

    def facts(self) -> dict[str, str | int | float]:
        """What data and model are: names, versions, digests and sizes, as plain data."""
        return {**super().facts(), "labels": ", ".join(self.data.labels)}


def _unlearnt(parts: Parts[LabelledExample], names: Sequence[str]) -> list[Remark]:
    """A remark on classes of which no example was drawn to learn from, though there are held-out ones."""
    learnt = {example.label for example in parts.train}
    held = Counter(example.label for example in (*parts.validation, *parts.test))
    missing = [number for number in held if number not in learnt]
    if not learnt or not missing:
        return []
    shown = ", ".join(repr(names[number]) for number in sorted(missing)[:_MOST_SHOWN])
    further = f" and {len(missing) - _MOST_SHOWN} more" if len(missing) > _MOST_SHOWN else ""
    examples = sum(held[number] for number in missing)
    told = (
        f"no example to learn from was drawn of {len(missing)} class(es) ({shown}{further}), to which "
        f"{examples} held-out one(s) belong"
    )
    return [Remark("classes_without_training_examples", len(missing), told)]
