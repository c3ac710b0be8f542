"""Whether weights are numbers, asked of the device without waiting for it where that can be."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm


def largest_weight(model: nn.Module) -> Tensor:
    """The largest absolute value of a trained weight in this process, on the device; not finite where one of
    them is not."""
    return get_total_norm(list(_trained(model).values()), norm_type=math.inf)


def first_not_finite(model: nn.Module) -> str | None:
    """The name of a trained weight that is infinite or not a number; None where there is none."""
    trained = _trained(model)
    if math.isfinite(get_total_norm(list(trained.values()), norm_type=math.inf)):
        return None
    bad = (not bool(torch.isfinite(weight).all()) for weight in trained.values())
    return next(itertools.compress(trained, bad), None)


@torch.no_grad()
def _trained(model: nn.Module) -> dict[str, Tensor]:
    named = (
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad  # which whole numbers cannot
    )
    local = {name: p.to_local() if hasattr(p, "to_local") else p.detach() for name, p in named}
    return {name: weight for name, weight in local.items() if weight.numel()}
