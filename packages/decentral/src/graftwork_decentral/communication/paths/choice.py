"""Which way to mix, by the name that a communicator was given."""

from __future__ import annotations

from torch import Tensor

from graftwork_decentral.communication.paths import gathered
from graftwork_decentral.communication.paths.plan import MixPlan


def mixed_by(path: str, known: Tensor, plan: MixPlan, *, dyadic: bool) -> Tensor:
    """Mix ``[known, ...]`` to ``[m, ...]``."""
    flat = known.flatten(1) if known.ndim != 2 else known
    return gathered.mix(flat, plan).reshape(len(plan.rows), *known.shape[1:])
