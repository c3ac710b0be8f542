"""The trace of a Hessian, by Hutchinson's estimator.

E[v'Hv] = Tr H for v of independent random signs; its variance is twice the sum of squares off the diagonal,
so that a diagonal Hessian is exact with one probe.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.flatness.estimate import Estimate
from graftwork_decentral.flatness.metrics.flat import Objective
from graftwork_decentral.flatness.metrics.hessian_product import HessianProduct


def hessian_trace(objective: Objective, point: Tensor, *, probes: int = 32, seed: int = 0) -> Estimate:
    """Estimate the trace of the Hessian at a point.

    Args:
        objective: whose Hessian.
        point: ``[parameters]``.
        probes: products to take, each of the cost of about two gradients.
        seed: of the signs.

    Raises:
        ValueError: ``probes`` is below 1.

    >>> hessian_trace(lambda w: (w**2).sum(), torch.ones(3), probes=2)
    Estimate(value=6.0, standard_error=0.0)
    """
    if probes < 1:
        raise ValueError(f"probes must be 1 or more, got {probes}")
    product = HessianProduct(objective, point)
    generator = torch.Generator(point.device).manual_seed(seed)
    samples = []
    for _ in range(probes):
        bits = torch.randint(0, 2, point.shape, generator=generator, device=point.device)
        signs = bits.to(point.dtype) * 2 - 1
        samples.append((signs * product(signs)).sum(dtype=torch.float64))
    return Estimate.of(torch.stack(samples).cpu())
