"""The ranges of the options of zeroth-order optimizers."""

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
    require_whole,
)

SHARED = ("interval", "eps", "probes", "backend", "seed", "stochastic_rounding")
"""Options that hold for all groups, since all weights are perturbed together."""


def check_options(options: Mapping[str, Any]) -> None:
    """Check a parameter group's options.

    Raises:
        ValueError: one is out of its range; the message states the range and the value.
    """
    require_rate(options["lr"])
    require_whole("rank", options["rank"], 0)
    require_decay("momentum", options["momentum"])
    require_not_negative("weight_decay", options["weight_decay"])
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
    require_same(SHARED, groups, "all weights are perturbed together")
