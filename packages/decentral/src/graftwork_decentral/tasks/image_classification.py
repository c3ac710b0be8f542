"""Image classification whose training images are spread over agents, evenly or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork import Choice
from graftwork_decentral.tasks.classifying import (
    classification_loss,
    classification_metrics,
    image_batch,
)
from graftwork_decentral.tasks.images import Images, load_images
from graftwork_decentral.tasks.partition import Partition, parts_of
from graftwork_decentral.tasks.streams import OrderedBatches, ShuffledBatches


class ImageClassification:
    """Name the class of an image.

    Every agent (``rank`` of ``world_size``) trains on its own part. Batches hold ``features`` ``[batch,
    channels, height, width]`` in 0..1, less the mean and over the standard deviation of each channel in the
    training images, and ``labels`` ``[batch]``.

    Args:
        model: what to train; it is built with image_shape and classes.
        data: digits (8 x 8, no file needed), or files in folder: fashion-mnist or idx, cifar10 (its Python
            batches), folder (pictures in train/CLASS and test/CLASS).
        folder: where those files are.
        partition: iid, or dirichlet, by class.
        alpha: of the Dirichlet partition; small is uneven.
        batch_size: images in a batch of one agent.
        augment: flip training images at random, and shift them by up to 4 pixels.
        seed: of the split of digits and of the partition.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: files are missing.
    """

    unit = "images"

    def __init__(
        self,
        *,
        model: Choice | Callable[..., nn.Module],
        data: Literal["digits", "fashion-mnist", "idx", "cifar10", "folder"] = "digits",
        folder: Path | None = None,
        partition: Partition = "dirichlet",
        alpha: float = 0.1,
        batch_size: int = 32,
        augment: bool = False,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0, got {alpha}")
        self._model = model
        self._data, self._folder = data, folder
        self._partition: Partition = partition
        self._alpha, self._batch_size, self._augment, self._seed = alpha, batch_size, augment, seed

    @cached_property
    def _images(self) -> tuple[Images, Images]:
        train, test = load_images(self._data, self._folder, self._seed)
        mean = train.features.mean((0, 2, 3), keepdims=True, dtype=np.float64)
        deviation = train.features.std((0, 2, 3), keepdims=True, dtype=np.float64)
        scaled = [
            Images(((part.features - mean) / deviation).astype(np.float32), part.labels, part.classes)
            for part in (train, test)
        ]
        return scaled[0], scaled[1]

    def build_model(self) -> nn.Module:
        """Return the model with fresh weights from torch's global generator."""
        train = self._images[0]
        channels, height, width = train.features.shape[1:]
        model: nn.Module = self._model(image_shape=(channels, height, width), classes=train.classes)
        return model

    def batches(
        self, split: Literal["train", "validation"], *, rank: int, world_size: int, seed: int
    ) -> Iterable[dict[str, Tensor]]:
        """Return an agent's batches, on the CPU; both iterables have ``skip(count)``.

        Args:
            split: ``train`` without end, of the agent's own part, each epoch in a new order; ``validation``
                once, held-out images dealt out in turn.
            rank: the agent.
            world_size: how many agents.
            seed: of the order.

        Raises:
            ValueError: there is no such split, or no partition gives every agent an image.
        """
        if split not in ("train", "validation"):
            raise ValueError(f"split must be 'train' or 'validation', got {split!r}")
        train, test = self._images
        if split == "validation":
            rows = np.arange(rank, len(test), world_size)
            return OrderedBatches(rows, self._batch_size, partial(image_batch, test))
        rows = parts_of(train.labels, world_size, self._partition, self._alpha, self._seed)[rank]
        make = partial(image_batch, train)
        if self._augment:
            make = partial(_augmented, train, (seed, rank))
        return ShuffledBatches(rows, self._batch_size, (seed, rank), make)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cross-entropy of a batch in nats, and its accuracy."""
        return classification_loss(model, batch)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return ``loss`` (nats) and ``accuracy`` on held-out images."""
        return classification_metrics(model, self._images[1])

    def count(self, batch: Mapping[str, Tensor]) -> int:
        """How many images a batch holds."""
        return len(batch["labels"])

    def facts(self) -> dict[str, str | int | float]:
        """What the data is, as plain data."""
        train, test = self._images
        return {
            "data": self._data,
            "train_images": len(train),
            "test_images": len(test),
            "classes": train.classes,
            "partition": self._partition if self._partition == "iid" else f"dirichlet {self._alpha:g}",
        }


_SHIFT = 4


def _augmented(images: Images, seed: tuple[int, ...], rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """A batch with each image flipped or not, and shifted; a function of the seed and the images drawn."""
    generator = np.random.default_rng([*seed, *rows.tolist()])
    features = images.features[rows]
    height, width = features.shape[2:]
    padded = np.pad(features, ((0, 0), (0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT)))
    places = generator.integers(0, 2 * _SHIFT + 1, (len(rows), 2))
    flips = generator.random(len(rows)) < 0.5
    moved = np.stack(
        [
            padded[number, :, top : top + height, left : left + width][:, :, :: -1 if flip else 1]
            for number, ((top, left), flip) in enumerate(zip(places, flips, strict=True))
        ]
    )
    return image_batch(Images(moved, images.labels[rows], images.classes), np.arange(len(rows)))
