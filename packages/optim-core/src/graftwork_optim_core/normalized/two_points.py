"""Evaluating a closure twice as if it were once: with the same random numbers, buffers and batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_optim_core.common.random_state import RandomState


class SideEffects:
    """What an evaluation changes beside gradients: random generators and the model's buffers.

    Args:
        devices: whose generators are used, beside the CPU's.
        model: whose buffers are meant; None for none.

    >>> norm = nn.BatchNorm1d(2)
    >>> before = SideEffects([torch.device("cpu")], norm)
    >>> _ = norm(torch.randn(4, 2))
    >>> before.restore()
    >>> int(norm.num_batches_tracked)
    0
    """

    def __init__(self, devices: Iterable[torch.device], model: nn.Module | None) -> None:
        self._random = [RandomState.capture(device) for device in sorted(set(devices), key=str)]
        self._buffers = list(_buffers(model)) if model is not None else []

    @torch.no_grad()
    def restore(self) -> None:
        """Put them back as they were."""
        for state in self._random:
            state.restore()
        for holder, name, tensor, values in self._buffers:
            tensor.copy_(values)
            # A module may put another tensor in the place of one.
            holder[name] = tensor


def _buffers(model: nn.Module) -> Iterable[tuple[dict[str, Any], str, Tensor, Tensor]]:
    for module in model.modules():
        for name, tensor in module._buffers.items():
            if tensor is not None:
                yield module._buffers, name, tensor, tensor.detach().clone()


def fingerprint_of(closure: Callable[[], Any]) -> Any:
    """Return what a closure says of its last batch, if it has an attribute ``fingerprint``; else None."""
    fingerprint = getattr(closure, "fingerprint", None)
    return fingerprint() if callable(fingerprint) else fingerprint


def check_same_batch(first: Any, second: Any) -> None:
    """Check that two evaluations were of the same batch, where their fingerprints are known.

    Raises:
        RuntimeError: they were not.
    """
    if first is None and second is None:
        return
    same = (
        first.shape == second.shape and bool((first == second).all())
        if isinstance(first, Tensor) and isinstance(second, Tensor)
        else first == second
    )
    if not same:
        raise RuntimeError(
            "the closure must evaluate the same batch both times it is called within a step, but its "
            f"fingerprint was {first!r} and then {second!r}; fetch the batch before step(), not in it"
        )


def swap(one: Tensor, other: Tensor) -> None:
    """Exchange the values of two tensors."""
    held = one.clone()
    one.copy_(other)
    other.copy_(held)


Former = Mapping[Tensor, Tensor]
"""The gradients at the previous point, by parameter."""
