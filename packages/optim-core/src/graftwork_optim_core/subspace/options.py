"""The range of every option, checked once a parameter group."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

_DEEPEST = 16


def check_options(options: dict[str, Any]) -> None:
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
        _require(_is_number(options["lr"]) and options["lr"] >= 0, "lr", "0 or more", options["lr"])
    betas = options["betas"]
    _require(
        len(betas) == 2 and all(_is_number(beta) and 0 <= beta < 1 for beta in betas),
        "betas",
        "two numbers in [0, 1)",
        betas,
    )
    _require(_is_number(options["eps"]) and options["eps"] > 0, "eps", "greater than 0", options["eps"])
    decay = options["weight_decay"]
    _require(_is_number(decay) and decay >= 0, "weight_decay", "0 or more", decay)
    level = options["level"]
    _require(
        isinstance(level, int) and not isinstance(level, bool) and 0 <= level <= _DEEPEST,
        "level",
        f"a whole number in 0..{_DEEPEST}",
        level,
    )
    _require(
        _is_number(options["scale"]) and options["scale"] > 0, "scale", "greater than 0", options["scale"]
    )
    _require(
        options["detail_guard"] in ("auto", "off"), "detail_guard", "'auto' or 'off'", options["detail_guard"]
    )
    limit = options["norm_growth_limit"]
    _require(
        limit is None or (_is_number(limit) and limit >= 1), "norm_growth_limit", "None or 1 or more", limit
    )
    state_dtype = options["state_dtype"]
    _require(
        state_dtype in ("param", "float32", "bfloat16"),
        "state_dtype",
        "'param', 'float32' or 'bfloat16'",
        state_dtype,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _require(holds: bool, name: str, allowed: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
