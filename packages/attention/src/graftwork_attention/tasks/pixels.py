"""Classification of images, by models whose attention a recipe chooses.

Batches hold ``features`` ``[batch, channels, height, width]`` in 0..1, ``labels`` ``[batch]`` and, of
held-out images, ``sample`` ``[batch]``, their numbers. Models take the features and return logits
``[batch, classes]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork import Choice, Direction, Supplies
from graftwork_attention.data.parts import Parts, Selection, Split, draw_parts
from graftwork_attention.data.small_images import digits, mnist_5k
from graftwork_trainer.attention import convert_attention
from graftwork_trainer.data.order import EndlessBatches, OrderedBatches
from graftwork_trainer.evaluation import evaluate, rows_of
from graftwork_trainer.images.labelled import ImageBatch, Images
from graftwork_trainer.tables import write_confusion_matrix

_EVALUATED_AT_ONCE = 64


class PixelClassification:
    """Name the class of an image; small real images come along.

    Args:
        model: what to train; it is built with image_shape and classes.
        attention: takes the place of every self-attention of the model; none for the model's own.
        data: digits (1,797 of 8 x 8 pixels, of scikit-learn) or mnist-5k (5,000 of 28 x 28, fetched once).
        image_size: pixels a side that images are brought to, bilinearly; none for their own.
        batch_size: images in a batch of one process.
        selection: which images of the data.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: what reads the data is not installed.
    """

    unit = "images"
    splits = ("train", "validation", "test")
    metric_directions: ClassVar[Mapping[str, Direction]] = {
        "accuracy": "higher",
        "macro_f1": "higher",
        "loss": "lower",
    }

    def __init__(
        self,
        *,
        model: Annotated[Choice | Callable[..., nn.Module], Supplies("image_shape", "classes")],
        attention: Annotated[Choice | None, Supplies("dim", "heads", "max_len", "layer_index")] = None,
        data: Literal["digits", "mnist-5k"] = "digits",
        image_size: int | None = None,
        batch_size: int = 32,
        selection: Selection = Selection(),
    ) -> None:
        for option, value in {"image_size": image_size, "batch_size": batch_size}.items():
            if value is not None and value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        self._model, self._attention = model, attention
        self._data, self._image_size, self._batch_size = data, image_size, batch_size
        self._selection = selection

    @classmethod
    def smallest(cls, folder: Path) -> dict[str, Any]:
        """Return options with which it trains in seconds."""
        return {"model": {"name": "pixel-encoder", "dim": 16, "layers": 1}, "train_examples": 64}

    @cached_property
    def parts(self) -> Parts:
        """The images of each part, as they were read."""
        return draw_parts(digits() if self._data == "digits" else mnist_5k(), None, self._selection)

    def build_model(self) -> nn.Module:
        """Return the model with fresh weights from torch's global generator.

        Raises:
            GraftworkError: its attention cannot be replaced, or not by this one.
        """
        train = self.parts.train
        channels, height, width = train.features.shape[1:]
        size = self._image_size
        shape = (channels, height, width) if size is None else (channels, size, size)
        model: nn.Module = self._model(image_shape=shape, classes=train.classes)
        return model if self._attention is None else convert_attention(model, self._attention)

    def batches(self, split: Split, *, rank: int, world_size: int, seed: int) -> Iterable[ImageBatch]:
        """Return this rank's batches, on the CPU.

        Args:
            split: ``train`` without end, each epoch in a new order (the iterator has ``skip(count)``);
                ``validation`` and ``test`` once and in order.
            rank: this process, from 0.
            world_size: number of processes; their batches are disjoint.
            seed: of the training order.

        Raises:
            ValueError: there is no such split.
        """
        if split not in self.splits:
            raise ValueError(f"split must be 'train', 'validation' or 'test', got {split!r}")
        images = Sized(self.parts.of(split), self._image_size)
        if split == "train":
            return EndlessBatches(
                images, batch_size=self._batch_size, rank=rank, world_size=world_size, seed=seed
            )
        return OrderedBatches(images, batch_size=_EVALUATED_AT_ONCE, rank=rank, world_size=world_size)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cross-entropy of a batch in nats, and its accuracy."""
        logits: Tensor = model(batch["features"])
        accuracy = (logits.detach().argmax(1) == batch["labels"]).float().mean()
        return F.cross_entropy(logits.float(), batch["labels"]), {"accuracy": accuracy}

    def count(self, batch: Mapping[str, Tensor]) -> int:
        """How many images a batch holds."""
        return len(batch["labels"])

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
        """Return the metrics on the validation images, in this process alone."""
        return evaluate(self, model)

    def artefacts(self, model: nn.Module, folder: Path) -> None:
        """Write ``confusion-matrix.csv``: how many validation images of each class are taken for which."""
        rows = rows_of(self, model, "validation")
        names = [str(label) for label in range(self.parts.train.classes)]
        write_confusion_matrix(folder / "confusion-matrix.csv", rows["predicted"], rows["label"], names)

    def facts(self) -> dict[str, str | int | float]:
        """What the data is, as plain data."""
        return {
            "data": self._data,
            **self.parts.facts(),
            "classes": self.parts.train.classes,
            "data_seed": self._selection.data_seed,
        }


@dataclass(frozen=True, slots=True)
class Sized:
    """Images whose batches are brought to a size.

    Args:
        images: as they were read.
        size: pixels a side; None for their own.
    """

    images: Images
    size: int | None

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: NDArray[np.int64]) -> ImageBatch:
        """Return ``features`` and ``labels`` of some of them."""
        batch = self.images.batch(rows)
        return {**batch, "features": resized(batch["features"], self.size)}


def resized(images: Tensor, size: int | None) -> Tensor:
    """Images ``[batch, channels, height, width]`` in 0..1 with so many pixels a side, bilinearly.

    Where there are fewer than before, each is a mean over those that it stands for.

    >>> resized(torch.rand(2, 1, 8, 8), 24).shape
    torch.Size([2, 1, 24, 24])
    """
    if size is None or images.shape[2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True).clamp(0, 1)
