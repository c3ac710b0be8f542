"""Mixing by differences, all rows at once."""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.communication.paths.plan import MixPlan


def mix(known: Tensor, plan: MixPlan) -> Tensor:
    """Mix ``[known, parameters]`` to ``[m, parameters]``."""
    work = torch.promote_types(known.dtype, torch.float32)
    own = known[plan.rows].to(work)
    mixed = own.clone()
    weights = plan.weights.to(work)
    for place in range(plan.neighbours.shape[1]):
        difference = known[plan.neighbours[:, place]].to(work).sub_(own)
        mixed += difference.mul_(weights[:, place, None])
    return mixed.to(known.dtype)
