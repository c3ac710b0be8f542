"""The ranges of the options that every subspace optimizer has, checked once a parameter group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graftwork_optim_core.common.ranges import (
    is_number,
    require,
    require_not_negative,
    require_one_of,
    require_positive,
    require_rate,
)


def check_common_options(options: Mapping[str, Any]) -> None:
    """Check a parameter group's options.

    Raises:
        ValueError: one is out of its range; the message states the range and the value.
    """
    require_rate(options["lr"])
    require_not_negative("weight_decay", options["weight_decay"])
    require_positive("scale", options["scale"])
    limit = options["norm_growth_limit"]
    require(
        limit is None or (is_number(limit) and limit >= 1), "norm_growth_limit", "None or 1 or more", limit
    )
    require_one_of("state_dtype", options["state_dtype"], ("param", "float32", "bfloat16"))
