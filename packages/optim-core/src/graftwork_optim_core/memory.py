"""How many bytes an optimizer's state will take, predicted from shapes alone.

For a weight of R rows and n columns the state of GWT at level l holds ``2 R ceil(n / 2^l)`` elements of the
moments, one scalar of the norm-growth limiter and one of the step (arXiv:2501.07237). GaLore's of rank r, if
the longer axis has n elements and the shorter R, holds ``2 n r`` elements of the moments and ``R r`` of the
basis (arXiv:2403.03507), and three scalars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from graftwork_optim_core.common.state_bytes import StateBytes
from graftwork_optim_core.gwt import GWTAdamW
from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer


def predicted_state_bytes(
    params: Iterable[Any], optimizer: type[SubspaceOptimizer] = GWTAdamW, **options: Any
) -> StateBytes:
    """Predict what ``optimizer(params, **options).state_bytes()`` will be, without making a state.

    Args:
        params: parameters or parameter groups, as for the optimizer; tensors on the meta device will do.
            A frozen ``nn.Parameter`` counts nothing, any other tensor as if it were trained.
        optimizer: the class.
        **options: as for the optimizer; its defaults hold for what is not given.

    >>> weight = torch.empty(4096, 11008, device="meta")
    >>> predicted_state_bytes([weight], level=2).total == 2 * 4096 * 2752 * 4 + 4 + 4
    True
    """
    entries = list(params)
    groups = entries if entries and isinstance(entries[0], dict) else [{"params": entries}]
    # An optimizer over nothing of substance, which knows the options and their defaults.
    empty = torch.nn.Parameter(torch.empty(0, 0, device="meta"))
    total = []
    for group in groups:
        own = {key: value for key, value in group.items() if key != "params"}
        filled = optimizer([{"params": [empty], **own}], **options)
        total.append(_group_bytes(filled, group["params"], filled.param_groups[0]))
    return StateBytes(tuple(total))


def _group_bytes(optimizer: SubspaceOptimizer, parameters: Any, options: Mapping[str, Any]) -> int:
    entries = [parameters] if isinstance(parameters, Tensor) else parameters
    named = [
        entry if isinstance(entry, tuple) else (str(place), entry) for place, entry in enumerate(entries)
    ]
    return sum(
        optimizer.predicted_state_bytes(parameter, options, name)
        for name, parameter in named
        if parameter.requires_grad or not isinstance(parameter, torch.nn.Parameter)
    )
