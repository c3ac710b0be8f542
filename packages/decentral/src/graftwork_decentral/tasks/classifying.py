"""What tasks of labelled images share: batches of features and labels, cross-entropy, accuracy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork import Direction
from graftwork.contracts import Split
from graftwork_decentral.tasks.images import ImageBatch, Images
from graftwork_trainer.data.order import OrderedBatches
from graftwork_trainer.evaluation import evaluate, rows_of
from graftwork_trainer.tables import write_confusion_matrix

_EVALUATED_AT_ONCE = 1024


class LabelledImagesTask(ABC):
    """Trains on batches of ``features`` and ``labels``, each agent on its own part of the images."""

    unit = "images"
    metric_directions: ClassVar[Mapping[str, Direction]] = {"accuracy": "higher", "loss": "lower"}

    @property
    @abstractmethod
    def held_out(self) -> Images:
        """Images that no agent trains on."""

    @abstractmethod
    def training_batches(self, rank: int, world_size: int, seed: int) -> Iterable[ImageBatch]:
        """Return an agent's batches without end; see :meth:`batches`."""

    def batches(self, split: Split, *, rank: int, world_size: int, seed: int) -> Iterable[ImageBatch]:
        """Return an agent's batches, on the CPU.

        Args:
            split: ``train`` without end, of the agent's own part, each epoch in a new order (the iterator has
                ``skip(count)``); ``validation`` once, held-out images in order, batches dealt out in turn.
            rank: the agent, or the process.
            world_size: how many there are.
            seed: of the training order.

        Raises:
            ValueError: there is no such split.
            GraftworkError: no partition gives every agent an image.
        """
        if split not in ("train", "validation"):
            raise ValueError(f"split must be 'train' or 'validation', got {split!r}")
        if split == "train":
            return self.training_batches(rank, world_size, seed)
        return OrderedBatches(self.held_out, batch_size=_EVALUATED_AT_ONCE, rank=rank, world_size=world_size)

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
        names = [str(label) for label in range(self.held_out.classes)]
        write_confusion_matrix(folder / "confusion-matrix.csv", rows["predicted"], rows["label"], names)


def area_under_curve(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the chance that a positive has a higher score than a negative; ties count half.

    >>> area_under_curve(np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True]))
    0.75
    """
    ordered, places = np.unique(scores, return_inverse=True)
    counts = np.bincount(places, minlength=len(ordered))
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positives = int(positive.sum())
    negatives = len(positive) - positives
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
