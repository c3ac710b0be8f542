"""Image classification whose training images are spread over agents, evenly or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from graftwork import Choice, Supplies
from graftwork_decentral.draws import checked_seed
from graftwork_decentral.extras import require_for_data
from graftwork_decentral.tasks.images import load_images
from graftwork_decentral.tasks.partition import Part, Partition, checked_alpha, parts_of
from graftwork_trainer.attention import convert_attention
from graftwork_trainer.images.classifying import ClassificationTask
from graftwork_trainer.images.labelled import ImageBatch, Images


class ImageClassification(ClassificationTask):
    """Name the class of an image.

    Every agent (``rank`` of ``world_size``) trains on its own part. Batches hold ``features`` ``[batch,
    channels, height, width]`` in 0..1, less the mean and over the standard deviation of each channel in the
    training images, and ``labels`` ``[batch]``.

    Args:
        model: what to train; it is built with image_shape and classes.
        attention: takes the place of every self-attention of the model, from the section [attention]; none to
            leave that.
        data: digits (8 x 8, no file needed), or files in folder: fashion-mnist or idx, cifar10 (its Python
            batches), folder (pictures in train/CLASS and test/CLASS).
        folder: where those files are.
        partition: iid, or dirichlet, by class.
        alpha: of the Dirichlet partition; small is uneven.
        batch_size: images in a batch of one agent; one that holds fewer gives all it has.
        augment: flip training images at random, and shift them by up to 4 pixels.
        seed: of the split of digits and of the partition.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: files are missing, or what reads them is not installed.
    """

    def __init__(
        self,
        *,
        model: Annotated[Choice | Callable[..., nn.Module], Supplies("image_shape", "classes")],
        attention: Annotated[
            Choice | Callable[..., nn.Module] | None, Supplies("dim", "heads", "max_len", "layer_index")
        ] = None,
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
        checked_alpha(alpha)
        checked_seed(seed)
        require_for_data(data)
        self._model, self._attention = model, attention
        self._data, self._folder = data, folder
        self._partition: Partition = partition
        self._alpha, self._batch_size, self._augment, self._seed = alpha, batch_size, augment, seed
        self._parts: dict[int, list[NDArray[np.int64]]] = {}

    @classmethod
    def smallest(cls, folder: Path) -> dict[str, Any]:
        """Return options with which it trains in seconds."""
        return {"model": {"name": "mlp", "hidden": 8}}

    @cached_property
    def _read(self) -> tuple[Images, Images]:
        return load_images(self._data, self._folder, self._seed)

    @cached_property
    def _images(self) -> tuple[Images, Images]:
        train, test = self._read
        mean = train.features.mean((0, 2, 3), keepdims=True, dtype=np.float64)
        deviation = train.features.std((0, 2, 3), keepdims=True, dtype=np.float64)
        deviation[deviation == 0] = 1  # a channel that says nothing is 0 everywhere, not 0 / 0
        scaled = [
            Images(((part.features - mean) / deviation).astype(np.float32), part.labels, part.classes)
            for part in (train, test)
        ]
        return scaled[0], scaled[1]

    @property
    def held_out(self) -> Images:
        """Images that no agent trains on."""
        return self._images[1]

    def build_model(self) -> nn.Module:
        """Return the model with fresh weights from torch's global generator.

        Raises:
            GraftworkError: its attention cannot be replaced, or not by this one.
        """
        train = self._images[0]
        model: nn.Module = self._model(image_shape=train.features.shape[1:], classes=train.classes)
        return model if self._attention is None else convert_attention(model, self._attention)

    def training_batches(self, rank: int, world_size: int, seed: int) -> Iterable[ImageBatch]:
        """Return an agent's batches without end."""
        train = self._images[0]
        rows = self._parts_of(world_size)[rank]
        examples = Augmented(train, (seed, rank)) if self._augment else train
        return Part(examples, rows).shuffled(self._batch_size, (seed, rank))

    def _parts_of(self, agents: int) -> list[NDArray[np.int64]]:
        # Once for all agents of this process: an uneven partition may take many draws.
        if agents not in self._parts:
            labels = self._images[0].labels
            self._parts[agents] = parts_of(labels, agents, self._partition, self._alpha, self._seed)
        return self._parts[agents]

    def facts(self) -> dict[str, str | int | float]:
        """What the data is, as plain data."""
        # Of images as they were read: the last bits of a mean may be another machine's.
        train, test = self._read
        return {
            "data": self._data,
            "train_images": len(train),
            "test_images": len(test),
            "classes": train.classes,
            "train_sha256": train.sha256,
            "test_sha256": test.sha256,
            "partition": self._partition if self._partition == "iid" else f"dirichlet {self._alpha:g}",
        }


_SHIFT = 4


@dataclass(frozen=True, slots=True)
class Augmented:
    """Images, each flipped or not, and shifted; a function of the seed and of which are in a batch."""

    images: Images
    seed: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: NDArray[np.int64]) -> ImageBatch:
        """Return ``features`` and ``labels`` of some of them."""
        generator = np.random.default_rng([*self.seed, *rows.tolist()])
        drawn = self.images.subset(rows)
        height, width = drawn.features.shape[2:]
        padded = np.pad(drawn.features, ((0, 0), (0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT)))
        corners = generator.integers(0, 2 * _SHIFT + 1, (len(rows), 2))
        flips = generator.random(len(rows)) < 0.5
        shifted = np.stack(
            [
                image[:, top : top + height, left : left + width][:, :, :: -1 if flip else 1]
                for image, (top, left), flip in zip(padded, corners, flips, strict=True)
            ]
        )
        return Images(shifted, drawn.labels, drawn.classes).batch(np.arange(len(rows)))
