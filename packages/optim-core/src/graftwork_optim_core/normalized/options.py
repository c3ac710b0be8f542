"""The ranges of the options of normalized optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graftwork_optim_core.common.ranges import (
    require_decay,
    require_not_negative,
    require_one_of,
    require_positive,
    require_rate,
    require_same,
)

SHARED = ("clip", "norm", "norm_dtype", "previous", "evaluating")
"""Options that hold for all groups, since one norm is taken over all parameters."""


def check_options(options: Mapping[str, Any]) -> None:
    """Check a parameter group's options.

    Raises:
        ValueError: one is out of its range; the message states the range and the value.
    """
    require_rate(options["lr"])
    require_decay("momentum", options["momentum"])
    if options["clip"] is not None:
        require_positive("clip", options["clip"])
    for name in ("weight_decay", "coupled_weight_decay"):
        require_not_negative(name, options[name])
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
    require_same(SHARED, groups, "one norm is taken over all of them")
