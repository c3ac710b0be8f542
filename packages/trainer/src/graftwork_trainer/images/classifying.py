"""What tasks of labelled images share: batches of features and labels, cross-entropy, accuracy.

A worker is an agent with images of its own, or one of several processes that share all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from graftwork import Direction
from graftwork_trainer.data.order import Examples, OrderedBatches
from graftwork_trainer.evaluation import evaluate, rows_of
from graftwork_trainer.images.labelled import ImageBatch, Images
from graftwork_trainer.tables import write_confusion_matrix


class LabelledImagesTask(ABC):
    """Trains on batches of ``features`` and ``labels``."""

    unit = "images"
    splits: ClassVar[tuple[str, ...]] = ("train", "validation")
    evaluated_at_once: ClassVar[int] = 1024
    metric_directions: ClassVar[Mapping[str, Direction]] = {"accuracy": "higher", "loss": "lower"}

    @property
    @abstractmethod
    def held_out(self) -> Images:
        """The validation images, on which nobody trains."""

    def held_out_part(self, split: str) -> Examples[ImageBatch]:
        """Return the images of ``validation``, or of a further one of ``splits``."""
        return self.held_out

    @abstractmethod
    def training_batches(self, rank: int, world_size: int, seed: int) -> Iterable[ImageBatch]:
        """Return a worker's batches without end; see :meth:`batches`."""

    def batches(self, split: str, *, rank: int, world_size: int, seed: int) -> Iterable[ImageBatch]:
        """Return a worker's batches, on the CPU.

        Args:
            split: ``train`` without end, each epoch in a new order (the iterator has ``skip(count)``);
                another of ``splits`` once and in order, batches dealt out in turn.
            rank: the worker, from 0.
            world_size: how many there are.
            seed: of the training order.

        Raises:
            ValueError: there is no such split.
            GraftworkError: no partition gives every agent an image.
        """
        if split not in self.splits:
            *first, last = map(repr, self.splits)
            raise ValueError(f"split must be {', '.join(first)} or {last}, got {split!r}")
        if split == "train":
            return self.training_batches(rank, world_size, seed)
        return OrderedBatches(
            self.held_out_part(split), batch_size=self.evaluated_at_once, rank=rank, world_size=world_size
        )

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cross-entropy of a batch in nats, and its accuracy."""
        logits: Tensor = model(batch["features"])
        accuracy = (logits.detach().argmax(1) == batch["labels"]).float().mean()
        return F.cross_entropy(logits.float(), batch["labels"]), {"accuracy": accuracy}

    def count(self, batch: Mapping[str, Tensor]) -> int:
        """How many images a batch holds."""
        return len(batch["labels"])


class ClassificationTask(LabelledImagesTask):
    """Is evaluated by the classes that a model gives to held-out images."""

    @property
    def class_names(self) -> Sequence[str]:
        """What the classes are called, in the order of their numbers."""
        return [str(label) for label in range(self.held_out.classes)]

    def evaluate_rows(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``label``, ``predicted`` and ``loss`` (nats) of every image, ``[batch]`` each."""
        logits: Tensor = model(batch["features"]).float()
        losses = F.cross_entropy(logits, batch["labels"], reduction="none")
        return {"label": batch["labels"], "predicted": logits.argmax(1), "loss": losses}

    def metrics(self, rows: Mapping[str, Tensor]) -> dict[str, float]:
        """Return ``loss``, the mean, and ``accuracy``."""
        right = rows["label"] == rows["predicted"]
        return {"loss": float(rows["loss"].double().mean()), "accuracy": float(right.double().mean())}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return ``loss`` (nats) and ``accuracy`` on held-out images."""
        return evaluate(self, model)

    def artefacts(self, model: nn.Module, folder: Path) -> None:
        """Write ``confusion-matrix.csv``: how many held-out images of each class are taken for which."""
        rows = rows_of(self, model, "validation")
        path = folder / "confusion-matrix.csv"
        write_confusion_matrix(path, rows["predicted"], rows["label"], self.class_names)
