"""Batches of a bilevel step on the device that trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graftwork_decentral.bilevel.problem import Batch


class BatchMover:
    """Moves batches to a device; one that comes again, within a step or in the next, is moved once.

    Args:
        device: where to.

    >>> mover = BatchMover(torch.device("meta"))
    >>> same = {"features": torch.ones(2, 3), "labels": (torch.zeros(2),)}
    >>> first, second, third = mover((same, same, same))
    >>> first is second is third, first["features"].device.type, mover((same,))[0] is first
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
        for pair in (*self._newest, *known):
            if pair[0] is batch:
                break
        else:
            pair = (batch, moved(batch, self._device))
        self._newest.append(pair)
        return pair[1]


def moved(batch: Batch, device: torch.device) -> Any:
    """Return a nest of dictionaries, tuples and lists with its tensors on a device; the rest is kept.

    Args:
        batch: see :class:`~graftwork_decentral.bilevel.problem.BilevelProblem`.
        device: where to.

    >>> moved([torch.zeros(1), {"a": 3}], torch.device("meta"))[0].device.type
    'meta'
    """
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {name: moved(part, device) for name, part in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [moved(part, device) for part in batch]
        return parts if isinstance(batch, list) else tuple(parts)
    return batch
