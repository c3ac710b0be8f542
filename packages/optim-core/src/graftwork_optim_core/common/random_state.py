"""The state of torch's global generators, so that a loss can be evaluated again with the same random
numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RandomState:
    """The generator of the CPU and that of a device.

    Args:
        cpu: state of the CPU's generator.
        device: the other device, or the CPU.
        own: state of that device's generator; None for the CPU.
    """

    cpu: Tensor
    device: torch.device
    own: Tensor | None

    @classmethod
    def capture(cls, device: torch.device) -> RandomState:
        """Read the states.

        >>> state = RandomState.capture(torch.device("cpu"))
        >>> first = torch.rand(2)
        >>> state.restore()
        >>> torch.equal(first, torch.rand(2))
        True
        """
        own = None
        if device.type not in ("cpu", "meta"):
            own = torch.get_device_module(device).get_rng_state(device)
        return cls(torch.get_rng_state(), device, own)

    def restore(self) -> None:
        """Set the generators back."""
        torch.set_rng_state(self.cpu)
        if self.own is not None:
            torch.get_device_module(self.device).set_rng_state(self.own, self.device)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RandomState):
            return NotImplemented
        same = self.device == other.device and torch.equal(self.cpu, other.cpu)
        if self.own is None or other.own is None:
            return same and self.own is other.own
        return same and torch.equal(self.own, other.own)

    __hash__ = None  # type: ignore[assignment]
