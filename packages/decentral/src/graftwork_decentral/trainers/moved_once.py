"""Batches of a bilevel step on the device that trains."""

from __future__ import annotations

import torch

from graftwork_decentral.bilevel.problem import Batch
from graftwork_trainer.device import move


class MovedOnce:
    """Moves batches to a device; one that comes again, within a step or in the next, is moved once.

    Args:
        device: where to.

    >>> to_device = MovedOnce(torch.device("meta"))
    >>> same = {"features": torch.ones(2, 3), "labels": (torch.zeros(2),)}
    >>> first, second, third = to_device((same, same, same))
    >>> first is second is third, first["features"].device.type, to_device((same,))[0] is first
    (True, 'meta', True)
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._newest: list[tuple[Batch, Batch]] = []

    def __call__(self, batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
        """Return the batches there, in their order; what is one object stays one."""
        if self._device.type == "cpu":
            return batches
        known, self._newest = self._newest, []
        return tuple(self._found(batch, known) for batch in batches)

    def _found(self, batch: Batch, known: list[tuple[Batch, Batch]]) -> Batch:
        same = [pair for pair in (*self._newest, *known) if pair[0] is batch]
        self._newest.append(same[0] if same else (batch, move(batch, self._device)))
        return self._newest[-1][1]
