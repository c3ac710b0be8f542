"""ResNet-18 for small images (arXiv:1512.03385): a 3 x 3 stem of stride 1, and no pooling before the blocks.

Images are ``[batch, channels, height, width]``, of 32 x 32 as a rule. With ``norm = "group"`` no statistic is
taken over a batch, so that agents share nothing but their parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["batch", "group"]
_STAGES = 4
_BLOCKS = 2


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut.

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: of the first convolution.
        norm: batch or group.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = _normalization(outputs, norm)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = _normalization(outputs, norm)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), _normalization(outputs, norm)
            )

    def forward(self, images: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(images)))
        inner = self.second_norm(self.second(inner))
        return F.relu(inner + self.shortcut(images))


def resnet18(
    image_shape: tuple[int, int, int], classes: int, *, width: int = 64, norm: Norm = "batch"
) -> nn.Module:
    """Return the model; its parts are called ``stem``, ``stage1`` to ``stage4`` and ``head``.

    Args:
        image_shape: channels, height and width.
        classes: logits that it returns.
        width: channels of the first stage; each of the further three doubles them.
        norm: batch, or group (8 groups or fewer), which takes no statistics over a batch.

    Raises:
        ValueError: width is below 1, or norm is unknown.

    >>> sum(parameter.numel() for parameter in resnet18((3, 32, 32), 10).parameters())
    11173962
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if norm not in ("batch", "group"):
        raise ValueError(f"norm must be 'batch' or 'group', got {norm!r}")
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["stem"] = nn.Sequential(
        nn.Conv2d(image_shape[0], width, 3, 1, 1, bias=False), _normalization(width, norm), nn.ReLU()
    )
    channels = width
    for stage in range(_STAGES):
        blocks: list[nn.Module] = []
        for block in range(_BLOCKS):
            stride = 2 if stage and not block else 1
            blocks.append(ResidualBlock(channels, width << stage, stride, norm))
            channels = width << stage
        parts[f"stage{stage + 1}"] = nn.Sequential(*blocks)
    parts |= OrderedDict(
        pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), head=nn.Linear(channels, classes)
    )
    return nn.Sequential(parts)


def _normalization(channels: int, norm: Norm) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    groups = max(count for count in range(1, min(8, channels) + 1) if channels % count == 0)
    return nn.GroupNorm(groups, channels)
