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
    real = {name: torch.view_as_real(t) if t.is_complex() else t for name, t in local.items() if t.numel()}
    # The largest of numbers of which one is none is none: one pass, and nothing of their size beside them.
    largest = {name: part.amax() for name, part in real.items() if part.dtype in _COMPARABLE}
    if not largest or not bool(torch.stack([one.cpu().double() for one in largest.values()]).isnan().any()):
        return None
    return next(name for name, one in largest.items() if bool(one.isnan()))


@torch.no_grad()
def _trained(model: nn.Module) -> dict[str, Tensor]:
    named = (
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad  # which whole numbers cannot
    )
    local = {name: p.to_local() if hasattr(p, "to_local") else p.detach() for name, p in named}
    return {name: weight for name, weight in local.items() if weight.numel()}
