"""Whether a linear map may be taken apart: calling it is its weight and bias, and nothing more."""

from __future__ import annotations

from torch import nn


def is_plain(linear: nn.Module) -> bool:
    """Whether ``linear.weight`` and ``linear.bias`` may be read in place of a call.

    An adapter put around the map, a quantized one or one whose weight is parametrized is of another class, or
    its weight is; a hook before the call may renew the weight; and offloading puts a ``forward`` of its own
    on the module.

    >>> is_plain(nn.Linear(2, 3)), is_plain(nn.Sequential(nn.Linear(2, 3)))
    (True, False)
    """
    return (
        type(linear) in (nn.Linear, nn.Conv1d)
        and not hasattr(linear.weight, "__tensor_flatten__")
        and not linear._forward_pre_hooks
        and "forward" not in linear.__dict__
    )
