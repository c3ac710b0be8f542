"""Ranges of options: each check states the range that is allowed and the value that was given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor


def require_rate(rate: Any) -> None:
    """Raise a ``ValueError`` unless this is a learning rate: a number, or a tensor of one element.

    A tensor on an accelerator is waited for; one without a value, on the meta device, passes.
    """
    if not isinstance(rate, Tensor):
        require_not_negative("lr", rate)
        return
    if rate.numel() != 1:
        raise ValueError(f"lr must be a number or a tensor of one element, got {rate.numel()} elements")
    if rate.dtype == torch.bool or rate.is_complex():
        raise ValueError(f"lr must be a real number, got a tensor of dtype {rate.dtype}")
    if rate.device.type != "meta":
        require_not_negative("lr", rate.item())


def require_betas(betas: Sequence[float]) -> None:
    """Raise a ``ValueError`` unless these are Adam's two decay rates."""
    require(
        len(betas) == 2 and all(is_number(beta) and 0 <= beta < 1 for beta in betas),
        "betas",
        "two numbers in [0, 1)",
        betas,
    )


def require_decay(name: str, value: Any) -> None:
    """Raise a ``ValueError`` unless a value is what an average keeps of itself at a step."""
    require(is_number(value) and 0 <= value < 1, name, "in [0, 1)", value)


def require_not_negative(name: str, value: Any) -> None:
    """Raise a ``ValueError`` unless a value is a number, 0 or more."""
    require(is_number(value) and value >= 0, name, "0 or more", value)


def require_positive(name: str, value: Any) -> None:
    """Raise a ``ValueError`` unless a value is a number greater than 0."""
    require(is_number(value) and value > 0, name, "greater than 0", value)


def require_whole(name: str, value: Any, lowest: int, highest: int | None = None) -> None:
    """Raise a ``ValueError`` unless a value is a whole number within a range."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    holds = whole and lowest <= value and (highest is None or value <= highest)
    within = f", {lowest} or more" if highest is None else f" in {lowest}..{highest}"
    require(holds, name, f"a whole number{within}", value)


def require_one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise a ``ValueError`` unless a value is one of several words."""
    words = [repr(word) for word in allowed]
    require(
        value in allowed, name, f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else words[0], value
    )


def is_number(value: object) -> bool:
    """Whether a value is a finite number and not a boolean."""
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def require(holds: bool, name: str, allowed: str, value: object) -> None:
    """Raise a ``ValueError`` that states the allowed range and the value, unless the condition holds."""
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")


def require_same(names: Sequence[str], groups: Sequence[Mapping[str, Any]], why: str) -> None:
    """Raise a ``ValueError`` unless options that some groups have are the same in all that have them.

    Args:
        names: of the options.
        groups: of parameters.
        why: they must be, for the message.
    """
    for name in names:
        values = {group[name] for group in groups if name in group}
        if len(values) > 1:
            found = ", ".join(map(repr, sorted(values, key=str)))
            raise ValueError(f"{name} must be the same in all parameter groups, since {why}; got {found}")
