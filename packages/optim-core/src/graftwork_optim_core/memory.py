"""How many bytes an optimizer's state will take, predicted from shapes alone.

For a weight of R rows and n columns at level l the state holds ``2 R ceil(n / 2^l)`` elements of the moments,
one scalar of the norm-growth limiter and one of the step. Source: arXiv:2501.07237.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from graftwork_optim_core.gwt import GWTAdamW
from graftwork_optim_core.subspace.sharding import local_part
from graftwork_optim_core.subspace.state import arithmetic_dtype, average_dtype, is_limited
from graftwork_optim_core.subspace.state_bytes import StateBytes

_STEP_BYTES = 4


def predicted_state_bytes(params: Iterable[Any], **options: Any) -> StateBytes:
    """Predict what ``GWTAdamW(params, **options).state_bytes()`` will be, without making a state.

    Args:
        params: parameters or parameter groups, as for the optimizer; tensors on the meta device will do.
            A frozen ``nn.Parameter`` counts nothing, any other tensor as if it were trained.
        **options: as for the optimizer; its defaults hold for what is not given.

    >>> weight = torch.empty(4096, 11008, device="meta")
    >>> predicted_state_bytes([weight], level=2).total == 2 * 4096 * 2752 * 4 + 4 + 4
    True
    """
    signature = inspect.signature(GWTAdamW)
    defaults = {name: entry.default for name, entry in signature.parameters.items() if name != "params"}
    defaults |= signature.bind_partial(**options).arguments
    entries = list(params)
    groups = entries if entries and isinstance(entries[0], dict) else [{"params": entries}]
    return StateBytes(tuple(_group_bytes({**defaults, **group}) for group in groups))


def _group_bytes(group: Mapping[str, Any]) -> int:
    parameters = group["params"]
    entries = [parameters] if isinstance(parameters, Tensor) else parameters
    named = [
        entry if isinstance(entry, tuple) else (str(place), entry) for place, entry in enumerate(entries)
    ]
    return sum(_parameter_bytes(name, parameter, group) for name, parameter in named)


def _parameter_bytes(name: str, parameter: Tensor, group: Mapping[str, Any]) -> int:
    if not parameter.requires_grad and isinstance(parameter, torch.nn.Parameter):
        return 0
    element = average_dtype(name, parameter, group["state_dtype"]).itemsize
    shape = local_part(parameter).shape
    rows, width = (1, shape.numel()) if len(shape) < 2 else (shape[0], shape[1:].numel())
    blocks = -(-width // 2 ** group["level"]) if len(shape) else 1
    limiter = arithmetic_dtype(parameter).itemsize if is_limited(parameter, group) else 0
    return 2 * rows * blocks * element + limiter + _STEP_BYTES
