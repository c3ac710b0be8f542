"""Labelled images: the digits that scikit-learn ships, or files in a folder.

Features are float32, labels int64, both numpy arrays: features ``[samples, channels, height, width]`` with
values in 0..1.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.extras import require_for_data
from graftwork_decentral.tasks.image_files import cifar_images, folder_images, idx_images
from graftwork_trainer.folders import given_path

ImageBatch = dict[str, Tensor]
"""``features`` and ``labels`` of some images."""

_HELD_OUT_DIGITS = 497


@dataclass(frozen=True, slots=True)
class Images:
    """Images with a class each.

    Args:
        features: ``[samples, channels, height, width]`` in 0..1.
        labels: ``[samples]`` from 0.
        classes: how many there are.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sha256(self) -> str:
        """Digest of shape, features and labels; values as they were read are the same on every machine."""
        total = hashlib.sha256(f"{list(self.features.shape)} {self.classes} ".encode())
        for array in (self.features.astype("<f4", copy=False), self.labels.astype("<i8", copy=False)):
            total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()

    def batch(self, rows: NDArray[np.int64]) -> ImageBatch:
        """Return ``features`` and ``labels`` of some of them."""
        return {
            "features": torch.from_numpy(self.features[rows]),
            "labels": torch.from_numpy(self.labels[rows]),
        }

    def subset(self, rows: NDArray[np.int64]) -> Images:
        """Return some of them, in the given order."""
        return Images(self.features[rows], self.labels[rows], self.classes)


def load_images(data: str, folder: Path | None, seed: int) -> tuple[Images, Images]:
    """Return images to train on and held-out ones.

    Args:
        data: ``digits`` (1 797 of 8 x 8, shuffled by the seed, 497 held out); ``fashion-mnist`` or ``idx``
            (files as MNIST's in ``folder``); ``cifar10`` (its Python batches in ``folder``); or ``folder``
            (PNG or JPEG files in ``folder/train/CLASS`` and ``folder/test/CLASS``).
        folder: where the files are; not for digits.
        seed: of the digits' shuffling; files have a split of their own.

    Raises:
        GraftworkError: the folder, a file or a library is missing.
    """
    require_for_data(data)
    if data == "digits":
        return _digits(seed)
    if folder is None:
        raise GraftworkError(f"folder: data = {data!r} is read from files; say where they are")
    folder = given_path(str(folder), "folder")
    if not folder.is_dir():
        raise GraftworkError(f"folder {folder}: no such folder; data = {data!r} is read from it")
    readers = {
        "fashion-mnist": idx_images,
        "idx": idx_images,
        "cifar10": cifar_images,
        "folder": folder_images,
    }
    if data not in readers:
        raise GraftworkError(f"data must be one of digits, {', '.join(readers)}, got {data!r}")
    train, test = (Images(*readers[data](folder, part)) for part in ("train", "test"))
    _check_alike(train, test, folder)
    return train, test


def _check_alike(train: Images, test: Images, folder: Path) -> None:
    """Refuse held-out images that no model of the training ones could name."""
    for part, images in (("training", train), ("test", test)):
        if not len(images):
            raise GraftworkError(f"folder {folder}: holds no {part} images")
    sizes = [" x ".join(map(str, images.features.shape[1:])) for images in (train, test)]
    if sizes[0] != sizes[1]:
        raise GraftworkError(
            f"folder {folder}: the training images are {sizes[0]} and those to test on {sizes[1]} (channels "
            "x height x width), and must be of one size"
        )
    if unlearnt := sorted(set(test.labels.tolist()) - set(train.labels.tolist())):
        raise GraftworkError(
            f"folder {folder}: there are test images of class {unlearnt[0]}, and no training image is of it"
        )


def _digits(seed: int) -> tuple[Images, Images]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    features = (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(seed).permutation(len(labels))
    digits = Images(features, labels.astype(np.int64), 10)
    return digits.subset(order[:-_HELD_OUT_DIGITS]), digits.subset(order[-_HELD_OUT_DIGITS:])
