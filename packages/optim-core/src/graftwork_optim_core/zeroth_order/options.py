"""The ranges of the options of zeroth-order optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from graftwork_optim_core.common.ranges import (
    is_number,
    require,
    require_one_of,
    require_positive,
    require_whole,
)

SHARED = ("interval", "eps", "probes", "backend", "seed", "stochastic_rounding")
"""Options that hold for all groups, since all weights are perturbed together."""


def check_options(options: Mapping[str, Any]) -> None:
    """Check a parameter group's options.

    Raises:
        ValueError: one is out of its range; the message states the range and the value.
    """
    rate = options["lr"]
    if isinstance(rate, Tensor):
        if rate.numel() != 1:
            raise ValueError(f"lr must be a number or a tensor of one element, got {rate.numel()} elements")
    else:
        require(is_number(rate) and rate >= 0, "lr", "0 or more", rate)
    require_whole("rank", options["rank"], 0)
    momentum, decay = options["momentum"], options["weight_decay"]
    require(is_number(momentum) and 0 <= momentum < 1, "momentum", "in [0, 1)", momentum)
    require(is_number(decay) and decay >= 0, "weight_decay", "0 or more", decay)
    require_one_of("scale", options["scale"], ("paper", "reference"))
    require_whole("interval", options["interval"], 1)
    require_positive("eps", options["eps"])
    require_whole("probes", options["probes"], 1, 255)
    require_one_of("backend", options["backend"], ("auto", "inplace", "sidepath", "dual"))
    require_whole("seed", options["seed"], 0, (1 << 64) - 1)
    if options["additive"] and options["backend"] == "inplace":
        raise ValueError("backend must be 'auto', 'sidepath' or 'dual' for additive weights, got 'inplace'")


def check_shared(groups: Sequence[Mapping[str, Any]]) -> None:
    """Check that the options which all groups share are the same in all of them.

    Raises:
        ValueError: a group has another value.
    """
    for name in SHARED:
        values = {group[name] for group in groups}
        if len(values) > 1:
            raise ValueError(
                f"{name} must be the same in all parameter groups, since all weights are perturbed together; "
                f"got {', '.join(map(repr, sorted(values, key=str)))}"
            )
