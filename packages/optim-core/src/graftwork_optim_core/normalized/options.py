"""The ranges of the options of normalized optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from graftwork_optim_core.common.ranges import is_number, require, require_one_of, require_positive

SHARED = ("clip", "norm", "norm_dtype", "previous", "evaluating")
"""Options that hold for all groups, since one norm is taken over all parameters."""


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
    momentum = options["momentum"]
    require(is_number(momentum) and 0 <= momentum < 1, "momentum", "in [0, 1)", momentum)
    if options["clip"] is not None:
        require_positive("clip", options["clip"])
    for name in ("weight_decay", "coupled_weight_decay"):
        require(is_number(options[name]) and options[name] >= 0, name, "0 or more", options[name])
    require_one_of("norm", options["norm"], ("global", "per_tensor"))
    require_one_of("norm_dtype", options["norm_dtype"], ("float32", "float64"))
    require_one_of("state_dtype", options["state_dtype"], ("param", "float32", "bfloat16"))
    if "previous" in options:
        require_one_of("previous", options["previous"], ("store", "recompute"))


def check_shared(groups: Sequence[Mapping[str, Any]]) -> None:
    """Check that the options which all groups share are the same in all of them.

    Raises:
        ValueError: a group has another value.
    """
    for name in SHARED:
        values = {group[name] for group in groups if name in group}
        if len(values) > 1:
            raise ValueError(
                f"{name} must be the same in all parameter groups, since one norm is taken over all of them; "
                f"got {', '.join(map(repr, sorted(values, key=str)))}"
            )
