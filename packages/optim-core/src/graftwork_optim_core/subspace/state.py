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

from graftwork_optim_core.subspace.plan import Plan
from graftwork_optim_core.subspace.shapes import matrix_shape
from graftwork_optim_core.subspace.sharding import local_part, zeros_placed_like
from graftwork_optim_core.subspace.site import Slot

STATE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def arithmetic_dtype(parameter: Tensor) -> torch.dtype:
    """Return the dtype in which a weight's step is computed: float64 for float64 weights, else float32."""
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32


def average_dtype(name: str, parameter: Tensor, state_dtype: str) -> torch.dtype:
    """Return the dtype of a weight's averages.

    Raises:
        ValueError: they would be float16, in which the square of a gradient of 1e-4 is zero.
    """
    dtype = STATE_DTYPES.get(state_dtype, parameter.dtype)
    if dtype == torch.float16:
        raise ValueError(
            f"parameter {name!r} is float16, too narrow for squared gradients; "
            "state_dtype must be 'float32' or 'bfloat16' for it, got 'param'"
        )
    return dtype


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
            place = torch.device("cpu") if slot.on_host else local_part(parameter).device
            state[key] = torch.zeros(slot.shape, dtype=dtype, device=place)
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


def merged_groups(own: list[dict[str, Any]], saved: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return saved parameter groups with an optimizer's own options where they have none.

    ``state_dtype`` stays the optimizer's.

    Raises:
        ValueError: the numbers of groups or of their parameters differ.
    """
    if len(saved) != len(own):
        raise ValueError(f"the saved state has {len(saved)} parameter groups, this has {len(own)}")
    merged = []
    for index, (mine, group) in enumerate(zip(own, saved, strict=True)):
        if len(mine["params"]) != len(group["params"]):
            raise ValueError(
                f"parameter group {index} has {len(mine['params'])} parameters, the saved one "
                f"{len(group['params'])}"
            )
        options = {**{key: value for key, value in mine.items() if key != "params"}, **group}
        options["state_dtype"] = mine["state_dtype"]
        merged.append(options)
    return merged


def copy_loaded(saved: Mapping[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """Copy a saved state, checked before, into a fresh one, whose dtypes and placement stay; return it."""
    for key, tensor in fresh.items():
        local_part(tensor).copy_(local_part(torch.as_tensor(saved[key])))
    return fresh
