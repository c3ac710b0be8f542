"""What a step leaves for the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(slots=True)
class StepOutcome:
    """Still on the device.

    Args:
        loss: mean over the agents here, before the update.
        gradient_norm: the largest of the agents here, before clipping; None where there are no gradients.
        metrics: of the task, of the first agent here.
    """

    loss: Tensor
    gradient_norm: Tensor | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
