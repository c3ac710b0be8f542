"""The ranges of the options that every subspace optimizer has, checked once a parameter group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from graftwork_optim_core.common.ranges import is_number, require, require_one_of, require_positive

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
