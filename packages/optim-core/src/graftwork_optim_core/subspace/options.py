"""The ranges of the options that every subspace optimizer has, checked once a parameter group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

COMMON_OPTIONS = frozenset(
    (
        "lr",
        "host",
        "transform",
        "plain_host",
        "scale",
        "weight_decay",
        "norm_growth_limit",
        "state_dtype",
        "plain",
        "maximize",
        "foreach",
        "capturable",
        "fused",
        "stochastic_rounding",
    )
)
"""What every optimizer of the family has, so that no host or transform may call an option of its own so."""


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
    decay = options["weight_decay"]
    require(is_number(decay) and decay >= 0, "weight_decay", "0 or more", decay)
    require_positive("scale", options["scale"])
    limit = options["norm_growth_limit"]
    require(
        limit is None or (is_number(limit) and limit >= 1), "norm_growth_limit", "None or 1 or more", limit
    )
    require_one_of("state_dtype", options["state_dtype"], ("param", "float32", "bfloat16"))


def require_betas(betas: Sequence[float]) -> None:
    """Raise a ``ValueError`` unless these are Adam's two decay rates."""
    require(
        len(betas) == 2 and all(is_number(beta) and 0 <= beta < 1 for beta in betas),
        "betas",
        "two numbers in [0, 1)",
        betas,
    )


def require_positive(name: str, value: object) -> None:
    """Raise a ``ValueError`` unless a value is a number greater than 0."""
    require(isinstance(value, (int, float)) and is_number(value) and value > 0, name, "greater than 0", value)


def require_whole(name: str, value: object, lowest: int, highest: int | None = None) -> None:
    """Raise a ``ValueError`` unless a value is a whole number within a range."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    holds = whole and lowest <= value and (highest is None or value <= highest)  # type: ignore[operator]
    allowed = (
        f"a whole number in {lowest}..{highest}"
        if highest is not None
        else f"a whole number, {lowest} or more"
    )
    require(holds, name, allowed, value)


def require_one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise a ``ValueError`` unless a value is one of several words."""
    words = [repr(word) for word in allowed]
    require(
        value in allowed, name, f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else words[0], value
    )


def is_number(value: object) -> bool:
    """Whether a value is a finite number and not a boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def require(holds: bool, name: str, allowed: str, value: object) -> None:
    """Raise a ``ValueError`` that states the allowed range and the value, unless the condition holds."""
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
