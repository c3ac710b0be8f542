"""The state of one weight: made before the first step, checked when it is loaded.

Keys: the host's averages, each of the coarse shape and in the state's dtype; ``step``, a float32 scalar;
``previous_norm``, a scalar in the arithmetic's dtype, where the norm's growth is limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graftwork_optim_core.subspace.sharding import is_sharded_type, local_part, zeros_placed_like
from graftwork_optim_core.subspace.transform import GradientTransform

_STATE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def arithmetic_dtype(parameter: Tensor) -> torch.dtype:
    """Return the dtype in which a weight's step is computed: float64 for float64 weights, else float32."""
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32


def average_dtype(name: str, parameter: Tensor, state_dtype: str) -> torch.dtype:
    """Return the dtype of a weight's averages.

    Raises:
        ValueError: they would be float16, in which the square of a gradient of 1e-4 is zero.
    """
    dtype = _STATE_DTYPES.get(state_dtype, parameter.dtype)
    if dtype == torch.float16:
        raise ValueError(
            f"parameter {name!r} is float16, too narrow for squared gradients; "
            "state_dtype must be 'float32' or 'bfloat16' for it, got 'param'"
        )
    return dtype


def reads_scalars(parameter: Tensor, options: Mapping[str, Any]) -> bool:
    """Whether a weight's step may read scalars back to the host, which only a CPU does for free."""
    return parameter.device.type == "cpu" and not options["capturable"]


def is_limited(parameter: Tensor, options: Mapping[str, Any]) -> bool:
    """Whether the growth of a weight's direction is limited; a single number's is not."""
    return options["norm_growth_limit"] is not None and parameter.ndim > 0


def fresh_state(
    name: str,
    parameter: Tensor,
    options: Mapping[str, Any],
    transform: GradientTransform,
    average_names: tuple[str, ...],
) -> dict[str, Any]:
    """Return the state of a weight that has made no step.

    Args:
        name: the parameter's, for messages.
        parameter: the weight; its shape, dtype, device and placement are what counts.
        options: of its parameter group.
        transform: which says the coarse shape.
        average_names: keys of the host's averages.
    """
    dtype = average_dtype(name, parameter, options["state_dtype"])
    shape = transform.coarse_shape(tuple(parameter.shape))
    local_shape = transform.coarse_shape(tuple(local_part(parameter).shape))
    device = torch.device("cpu") if reads_scalars(parameter, options) else local_part(parameter).device
    state: dict[str, Any] = {"step": torch.zeros((), dtype=torch.float32, device=device)}
    for key in average_names:
        state[key] = zeros_placed_like(parameter, local_shape, shape, dtype)
    if is_limited(parameter, options):
        state["previous_norm"] = torch.zeros((), dtype=arithmetic_dtype(parameter), device=device)
    return state


def check_loaded(
    name: str, saved: Mapping[str, Any], expected: Mapping[str, Any], transform: GradientTransform
) -> None:
    """Check that a saved state fits a weight.

    Args:
        name: the parameter's, for messages.
        saved: what is to be loaded.
        expected: a fresh state of the weight.
        transform: of the group that is to be loaded with it.

    Raises:
        ValueError: something is missing or of another shape.
    """
    for key, fresh in expected.items():
        if key not in saved:
            raise ValueError(f"the saved state of parameter {name!r} lacks {key!r}; it holds {sorted(saved)}")
        value = torch.as_tensor(saved[key])
        if value.shape != fresh.shape:
            raise ValueError(
                f"the saved {key!r} of parameter {name!r} has shape {tuple(value.shape)}, but "
                f"{transform} needs {tuple(fresh.shape)}; was it saved with other options, or by another "
                "optimizer?"
            )
        if is_sharded_type(fresh) != is_sharded_type(value):
            kinds = ("sharded", "a plain tensor") if is_sharded_type(value) else ("a plain tensor", "sharded")
            raise ValueError(
                f"the saved {key!r} of parameter {name!r} is {kinds[0]} and must be {kinds[1]} like the "
                "parameter; torch.distributed.checkpoint.state_dict.set_optimizer_state_dict converts it"
            )


def copy_loaded(saved: Mapping[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """Copy a saved state, checked before, into a fresh one, whose dtypes and placement stay; return it."""
    for key, tensor in fresh.items():
        local_part(tensor).copy_(local_part(torch.as_tensor(saved[key])))
    return fresh
