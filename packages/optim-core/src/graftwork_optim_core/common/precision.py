"""In which dtypes a weight's step is computed and its averages are kept."""

from __future__ import annotations

import torch
from torch import Tensor

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
