"""A perceptron of one hidden layer on flattened images."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def mlp(image_shape: tuple[int, int, int], classes: int, *, hidden: int = 64) -> nn.Module:
    """Return the model; its layers are called ``hidden`` and ``head``.

    Args:
        image_shape: channels, height and width.
        classes: logits that it returns.
        hidden: width of its one hidden layer.

    Raises:
        ValueError: hidden is below 1.

    >>> sum(parameter.numel() for parameter in mlp((1, 8, 8), 10).parameters())
    4810
    """
    if hidden < 1:
        raise ValueError(f"hidden must be at least 1, got {hidden}")
    channels, height, width = image_shape
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            hidden=nn.Linear(channels * height * width, hidden),
            activation=nn.ReLU(),
            head=nn.Linear(hidden, classes),
        )
    )
