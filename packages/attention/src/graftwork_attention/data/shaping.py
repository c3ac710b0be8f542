"""Images brought to the shape that a model takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from graftwork import GraftworkError
from graftwork_trainer.images.labelled import ImageBatch, Images

Shape = tuple[int, int, int]
"""Channels, height, width."""

# Brightness of red, green and blue (ITU-R BT.601).
_BRIGHTNESS = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Shaped:
    """Images whose batches are brought to a shape.

    Args:
        images: as they were read.
        shape: that batches have.
    """

    images: Images
    shape: Shape

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: NDArray[np.int64]) -> ImageBatch:
        """Return ``features`` and ``labels`` of some of them."""
        batch = self.images.batch(rows)
        return {**batch, "features": shaped(batch["features"], self.shape)}


def shaped(images: Tensor, shape: Shape) -> Tensor:
    """Bring images ``[batch, channels, height, width]`` in 0..1 to a shape.

    The size is changed bilinearly; a pixel of fewer than before is a mean over those that it stands for. Grey
    images become coloured by three equal channels, coloured ones grey by their brightness.

    Raises:
        GraftworkError: the channels are neither grey nor red, green and blue, and others are wanted.

    >>> shaped(torch.rand(2, 3, 8, 8), (1, 24, 24)).shape
    torch.Size([2, 1, 24, 24])
    """
    channels, height, width = shape
    there = images.shape[1]
    if there == 3 and channels == 1:
        images = torch.einsum("bchw,c->bhw", images, torch.tensor(_BRIGHTNESS)).unsqueeze(1)
    elif there == 1 and channels == 3:
        images = images.expand(-1, 3, -1, -1)
    elif there != channels:
        raise GraftworkError(f"images of {there} channels cannot be made images of {channels} channels")
    if images.shape[2:] != (height, width):
        images = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    return images.clamp(0, 1)
