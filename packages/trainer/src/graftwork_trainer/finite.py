"""Whether weights are numbers, asked of the device without waiting for it where that can be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

_COMPARABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
def first_nan(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor in which something is not a number; None where there is none."""
    local = {name: t.to_local() if hasattr(t, "to_local") else t for name, t in tensors.items()}
    # Those of fewer bits know no comparison, and infinities may be meant: the best value so far, for one.
    asked = {name: part for name, part in local.items() if part.is_complex() or part.dtype in _COMPARABLE}
    found = {name: torch.isnan(part).any() for name, part in asked.items()}
    if not found or not bool(torch.stack([one.cpu() for one in found.values()]).any()):
        return None
    return next(name for name, one in found.items() if bool(one))


@torch.no_grad()
def _trained(model: nn.Module) -> dict[str, Tensor]:
    named = (
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad  # which whole numbers cannot
    )
    local = {name: p.to_local() if hasattr(p, "to_local") else p.detach() for name, p in named}
    return {name: weight for name, weight in local.items() if weight.numel()}
