"""Labelled images in memory: features and labels, which numbers make into batches."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ImageBatch = dict[str, Tensor]
"""``features`` and ``labels`` of some images."""


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
