"""The ranges of the options that every subspace optimizer has, checked once a parameter group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def check_common_options(options: Mapping[str, Any]) -> None:
    """Check a parameter group's options.

    Raises:
        ValueError: one is out of its range; the message states the range and the value.
    """
    if isinstance(options["lr"], Tensor):
        if options["lr"].numel() != 1:
            raise ValueError(
                f"lr must be a number or a tensor of one element, got {options['lr'].numel()} elements"
            )
    else:
        require(is_number(options["lr"]) and options["lr"] >= 0, "lr", "0 or more", options["lr"])
    betas = options["betas"]
    require(
        len(betas) == 2 and all(is_number(beta) and 0 <= beta < 1 for beta in betas),
        "betas",
        "two numbers in [0, 1)",
        betas,
    )
    require(is_number(options["eps"]) and options["eps"] > 0, "eps", "greater than 0", options["eps"])
    decay = options["weight_decay"]
    require(is_number(decay) and decay >= 0, "weight_decay", "0 or more", decay)
    require(is_number(options["scale"]) and options["scale"] > 0, "scale", "greater than 0", options["scale"])
    limit = options["norm_growth_limit"]
    require(
        limit is None or (is_number(limit) and limit >= 1), "norm_growth_limit", "None or 1 or more", limit
    )
    state_dtype = options["state_dtype"]
    require(
        state_dtype in ("param", "float32", "bfloat16"),
        "state_dtype",
        "'param', 'float32' or 'bfloat16'",
        state_dtype,
    )


def is_number(value: object) -> bool:
    """Whether a value is a finite number and not a boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def require(holds: bool, name: str, allowed: str, value: object) -> None:
    """Raise a ``ValueError`` that states the allowed range and the value, unless the condition holds."""
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
