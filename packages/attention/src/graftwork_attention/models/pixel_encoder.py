"""Images as sequences of pixels, as the Long Range Arena classifies them (arXiv:2011.04006)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from graftwork_attention.models.sequence_classifier import Pooling, SequenceClassifier

_VALUES = 256


class PixelEncoder(nn.Module):
    """A classifier whose tokens are an image's pixels, row by row; nothing tells it what lies above what.

    Args:
        image_shape: channels, height and width.
        classes: logits that it returns.
        tokens: values looks each of 256 grey values up in a table, for images of one channel, and learns
            nothing of a value that no image has; linear maps the numbers of a pixel, of any channels, and
            learns more slowly.
        dim: width of a token.
        heads: of the attention; divides dim.
        layers: how many blocks.
        hidden: width of the perceptrons; none for 2 * dim.
        pooling: the mean over pixels, or a class token in front of them.
        dropout: share that training drops in the blocks and of the embedding, in [0, 1).

    Raises:
        ValueError: an option is out of its range.

    >>> import torch
    >>> PixelEncoder((1, 8, 8), classes=10, dim=16)(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        tokens: Literal["values", "linear"] = "values",
        dim: int = 64,
        heads: int = 2,
        layers: int = 2,
        hidden: int | None = None,
        pooling: Pooling = "mean",
        dropout: float = 0.0,
    ) -> None:
        channels, height, width = image_shape
        if tokens == "values" and channels != 1:
            raise ValueError(
                f"tokens must be 'linear' for images of {channels} channels: 'values' looks up one grey "
                "value for each pixel"
            )
        super().__init__()
        self.looks_up = tokens == "values"
        # The first images tell; the others are not waited for on a device.
        self._checked = False
        self.classifier = SequenceClassifier(
            dim,
            classes,
            height * width,
            # Number 0 is padding, of which images have none: no pixel is masked, black ones neither.
            vocabulary=_VALUES + 1 if self.looks_up else None,
            features=None if self.looks_up else channels,
            heads=heads,
            layers=layers,
            hidden=hidden,
            pooling=pooling,
            dropout=dropout,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[batch, classes]``.

        Args:
            images: ``[batch, channels, height, width]`` in 0..1.

        Raises:
            ValueError: values are looked up, and those of the first images lie elsewhere.
        """
        pixels = images.flatten(2).transpose(1, 2)
        if self.looks_up:
            self._check(images)
            pixels = (pixels[..., 0] * (_VALUES - 1)).round().clamp(0, _VALUES - 1).long() + 1
        logits: Tensor = self.classifier(pixels)
        return logits

    def _check(self, images: Tensor) -> None:
        """Refuse images of another range, whose values would be looked up as black and white."""
        if self._checked or torch.compiler.is_compiling() or images.device.type == "meta":
            return
        low, high = images.aminmax()
        if low < 0 or high > 1:
            raise ValueError(
                f"images must lie in 0..1, got {float(low):.3g} to {float(high):.3g}; for images that are "
                "scaled otherwise take tokens = 'linear'"
            )
        self._checked = True
