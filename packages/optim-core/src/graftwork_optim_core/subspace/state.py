"""The state of one weight: made before the first step, checked when it is loaded.

Keys: the slots of the host and of the transform; ``step``, a float32 scalar; ``previous_norm``, a scalar in
the arithmetic's dtype, where the norm's growth is limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from graftwork_optim_core.common.parameters import arithmetic_dtype, average_dtype, matrix_shape
from graftwork_optim_core.common.sharding import local_part, zeros_placed_like
from graftwork_optim_core.subspace.plan import Plan
from graftwork_optim_core.subspace.site import Slot


def reads_scalars(parameter: Tensor, options: Mapping[str, Any]) -> bool:
    """Whether a weight's step may read scalars back to the host, which only a CPU does for free."""
    return parameter.device.type == "cpu" and not options["capturable"]


def all_slots(parameter: Tensor, plan: Plan) -> dict[str, Slot]:
    """Return the slots of a weight, of its host and of its transform."""
    shape = matrix_shape(parameter)
    averages = plan.host.slots(plan.transform.coarse_shape(shape))
    if not plan.transform.keeps_rows(shape):
        averages = {key: replace(slot, follows_rows=False) for key, slot in averages.items()}
    return {**averages, **plan.transform.slots(shape)}


def state_keys(parameter: Tensor, plan: Plan) -> set[str]:
    """Return the names of what :func:`fresh_state` makes."""
    return {"step", *all_slots(parameter, plan), *(["previous_norm"] if plan.limited else [])}


def fresh_state(name: str, parameter: Tensor, options: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Return the state of a weight that has made no step.

    Args:
        name: the parameter's, for messages.
        parameter: the weight; its shape, dtype, device and placement are what counts.
        options: of its parameter group.
        plan: which says what is kept.
    """
    device = torch.device("cpu") if reads_scalars(parameter, options) else local_part(parameter).device
    state: dict[str, Any] = {"step": torch.zeros((), dtype=torch.float32, device=device)}
    for key, slot in all_slots(parameter, plan).items():
        dtype = slot.dtype or average_dtype(name, parameter, options["state_dtype"])
        if slot.follows_rows:
            state[key] = zeros_placed_like(
                parameter, _local_shape(parameter, slot, plan), _state_shape(parameter, slot.shape), dtype
            )
        else:
            own_device = torch.device("cpu") if slot.on_host else local_part(parameter).device
            state[key] = torch.zeros(slot.shape, dtype=dtype, device=own_device)
    if plan.limited:
        state["previous_norm"] = torch.zeros((), dtype=arithmetic_dtype(parameter), device=device)
    return state


def _state_shape(parameter: Tensor, shape: tuple[int, int]) -> tuple[int, ...]:
    """A vector's state is a vector, a single number's a single number."""
    if parameter.ndim >= 2:
        return shape
    return (shape[1],) if parameter.ndim else ()


def _local_shape(parameter: Tensor, slot: Slot, plan: Plan) -> tuple[int, ...]:
    local = local_part(parameter)
    rows, width = matrix_shape(local)
    if parameter.ndim >= 2 and width == matrix_shape(parameter)[1]:
        return (rows, slot.shape[1])
    block = max(1, plan.column_block(parameter))
    return _state_shape(parameter, (slot.shape[0], -(-width // block)))


def state_bytes_of(name: str, parameter: Tensor, options: Mapping[str, Any], plan: Plan) -> int:
    """Return how many bytes the state of a weight takes in this process, without making it."""
    total = torch.float32.itemsize
    for slot in all_slots(parameter, plan).values():
        dtype = slot.dtype or average_dtype(name, parameter, options["state_dtype"])
        shape = _local_shape(parameter, slot, plan) if slot.follows_rows else slot.shape
        total += torch.Size(shape).numel() * dtype.itemsize
    return total + (arithmetic_dtype(parameter).itemsize if plan.limited else 0)
