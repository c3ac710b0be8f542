"""The parameters of an optimizer's groups, with their names and their positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


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
