"""Stochastic gradient descent with momentum as an update host.

``M <- mu M + (1 - dampening) R`` and ``M = R`` at the first step, as in ``torch.optim.SGD``. With
``dampening = mu`` this is the running mean of the theory of GoLore (arXiv:2410.11289), but for its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_optim_core.common.ranges import is_number, require, require_decay
from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.subspace.host import Averages, UpdateHost
from graftwork_optim_core.subspace.site import Site, Slot
from graftwork_optim_core.subspace.transform import Direction


@dataclass(frozen=True)
class MSGDHost(UpdateHost):
    """Momentum SGD in the coarse space.

    Args:
        momentum: decay of the running sum, in [0, 1).
        dampening: how much of each gradient after the first is held back, in [0, 1]; equal to momentum it
            makes the running sum a running mean.
        nesterov: step along ``R + momentum * M``; needs momentum and no dampening, as in torch.

    Raises:
        ValueError: an option is out of its range.

    >>> sorted(MSGDHost(momentum=0.9).slots((4, 8))), MSGDHost(momentum=0.0).slots((4, 8))
    (['momentum_buffer'], {})
    """

    momentum: float = 0.9
    dampening: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        held = is_number(self.dampening) and 0 <= self.dampening <= 1
        require_decay("momentum", self.momentum)
        require(held, "dampening", "in [0, 1]", self.dampening)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                "nesterov must come with momentum greater than 0 and dampening 0, "
                f"got momentum={self.momentum} and dampening={self.dampening}"
            )

    def slots(self, coarse_shape: tuple[int, int]) -> dict[str, Slot]:
        """One of the coarse shape, none without momentum."""
        return {"momentum_buffer": Slot(coarse_shape)} if self.momentum else {}

    def accumulate(
        self, averages: Averages, coarse: list[Tensor], steps: Sequence[Scalar], sites: Sequence[Site]
    ) -> None:
        """Take one coarse gradient into the buffer, in place."""
        if not self.momentum:
            return
        (buffers,) = averages
        torch._foreach_mul_(buffers, self.momentum)
        if not self.dampening:
            torch._foreach_add_(buffers, coarse)
            return
        for buffer, gradient, step in zip(buffers, coarse, steps, strict=True):
            if isinstance(step, Tensor):
                taken = (step != 1).to(gradient.dtype) * -self.dampening + 1
                buffer.addcmul_(gradient, taken)
            else:
                buffer.add_(gradient, alpha=1.0 if step == 1 else 1 - self.dampening)

    def direction(self, averages: Averages, coarse: list[Tensor], sites: Sequence[Site]) -> list[Direction]:
        """Return the buffer, or what Nesterov makes of it; nothing divides it."""
        if not self.momentum:
            return [Direction(gradient, None) for gradient in coarse]
        (buffers,) = averages
        if self.nesterov:
            return [
                Direction(gradient.add(buffer, alpha=self.momentum), None)
                for gradient, buffer in zip(coarse, buffers, strict=True)
            ]
        return [Direction(buffer, None) for buffer in buffers]
