"""Excess risk to leading order in the step size: what grows with the graph, the batch and heterogeneity.

Derived here from the exact modes of :mod:`.modal`. Valid only for mu h_max far below 1 - lam_2; on sparse
graphs it is far off at ordinary steps, and :func:`~graftwork_decentral.flatness.theory.excess_risk` is then
the one to use. bhat_m = sum_k V_km b_k:

    consensus       ER_cen + mu^2 / (2K) sum_{m>=2} [
                        bhat_m' H bhat_m / (1 - lam_m)^2 + Tr(HR) / (B (1 - lam_m^2)) ]
    diffusion       the same with the bracket times lam_m^2
    cta-diffusion   as consensus

where ER_cen is the exact one.
"""

from __future__ import annotations

import torch

from graftwork_decentral.flatness.arrays import (
    ArrayLike,
    heterogeneity_of,
    mixing,
    mixing_modes,
    symmetric_matrix,
)
from graftwork_decentral.flatness.methods import Method
from graftwork_decentral.flatness.theory.modal import excess_risk

_CONNECTED = 1e-12


def small_step(
    mixing_matrix: ArrayLike,
    hessian: ArrayLike,
    noise_covariance: ArrayLike,
    heterogeneity: ArrayLike | None,
    step_size: float,
    batch_size: float,
    *,
    method: Method = "diffusion",
) -> float:
    """Return the steady-state excess risk to leading order in the step size.

    Args:
        mixing_matrix: of a connected graph without a period, so that only one eigenvalue has size 1.
        hessian: see :func:`~graftwork_decentral.flatness.theory.excess_risk`, as are the others.

    Raises:
        ValueError: an argument is out of its range, or an eigenvalue beside the first has size 1.

    >>> pair, one = [[0.75, 0.25], [0.25, 0.75]], [[1.0]]
    >>> round(small_step(pair, one, one, None, 0.001, 1) / excess_risk(pair, one, one, None, 0.001, 1), 4)
    1.0
    """
    centralized = excess_risk(
        mixing_matrix, hessian, noise_covariance, heterogeneity, step_size, batch_size, method="centralized"
    )
    # Of the centralized method nothing remains to be added, but a wrong name must not pass for another.
    excess_risk(
        mixing_matrix, hessian, noise_covariance, heterogeneity, step_size, batch_size, 0, method=method
    )
    if method == "centralized":
        return centralized
    lam, agent_directions = mixing_modes(mixing(mixing_matrix))
    agents, lam = len(lam), lam[1:]
    if bool((lam.abs() > 1 - _CONNECTED).any()):
        raise ValueError("mixing_matrix must have a single eigenvalue of size 1: a connected, lazy graph")
    curvature = symmetric_matrix("hessian", hessian)
    noise = symmetric_matrix("noise_covariance", noise_covariance)
    local = heterogeneity_of(heterogeneity, agents, curvature.shape[0])
    inputs = (agent_directions.mT @ local)[1:]
    bias = torch.einsum("mi,ij,mj->m", inputs, curvature, inputs) / (1 - lam) ** 2
    variance = torch.trace(curvature @ noise) / batch_size / (1 - lam**2)
    share = lam**2 if method == "diffusion" else torch.ones_like(lam)
    return centralized + step_size**2 / (2 * agents) * float((share * (bias + variance)).sum())
