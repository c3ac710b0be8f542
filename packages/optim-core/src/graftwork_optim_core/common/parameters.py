"""What is asked of a parameter: its name and position, its shape as a matrix, the dtypes of its step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

STATE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def named_parameters(group: Mapping[str, Any], number: int) -> list[tuple[str, Tensor]]:
    """Return a group's parameters with their names, or with their positions where they have none."""
    parameters = group["params"]
    names = group.get("param_names") or [
        f"group {number}, parameter {position}" for position in range(len(parameters))
    ]
    return list(zip(names, parameters, strict=True))


def parameter_positions(groups: Sequence[dict[str, Any]]) -> dict[Tensor, tuple[int, str, int]]:
    """Return of every parameter the number of its group, its name, and its position among all parameters."""
    found: dict[Tensor, tuple[int, str, int]] = {}
    for number, group in enumerate(groups):
        for name, parameter in named_parameters(group, number):
            found[parameter] = (number, name, len(found))
    return found


def matrix_shape(tensor: Tensor) -> tuple[int, int]:
    """Return ``[shape[0], everything else]``, or one row where there are fewer than two dimensions.

    >>> matrix_shape(torch.zeros(64, 3, 3, 3)), matrix_shape(torch.zeros(5)), matrix_shape(torch.zeros(()))
    ((64, 27), (1, 5), (1, 1))
    """
    return (1, tensor.numel()) if tensor.ndim < 2 else (tensor.shape[0], tensor.shape[1:].numel())


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
