"""Excess risk where all agents share a Hessian: every mode of error is a scalar process, solved exactly.

Derived here for the quadratic model of arXiv:2406.20006. Hessian H = U diag(h) U', gradient noise of
covariance R / B per agent, independent over agents and time, local gradients b_k at the minimum w*,
W = V diag(lam) V' with lam_1 = 1. The modes e_mj = sum_k V_km (U'(w_k - w*))_j obey

    e+ = a e - mu c (bhat + noise)
    centralized     a = 1 - mu h_j            c = 1       m = 1 only
    consensus       a = lam_m - mu h_j        c = 1
    diffusion       a = lam_m (1 - mu h_j)    c = lam_m
    cta-diffusion   a = lam_m (1 - mu h_j)    c = 1

so that after n steps from w*

    mean_mj = -mu c bhat_mj (1 - a^n) / (1 - a)
    cov_mij = mu^2 c^2 (U'RU)_ij / B (1 - (a_i a_j)^n) / (1 - a_i a_j)
    excess risk = 1 / (2K) sum_mj h_j (mean_mj^2 + cov_mjj)

and the steady state drops the powers. The excess risk is the expected J at an agent less J(w*), averaged
over agents. Modes m >= 2 are the disagreement; their second moments over K are the consensus covariance S,
and the excess risk is the centroid's plus Tr(HS) / 2.

Shapes: modes ``[agents, dimension]``, second moments ``[agents, dimension, dimension]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_decentral.flatness.arrays import (
    ArrayLike,
    heterogeneity_of,
    mixing,
    mixing_modes,
    positive,
    step_count,
    symmetric_matrix,
)
from graftwork_decentral.flatness.methods import Method, require_method


@dataclass(frozen=True, slots=True)
class _Modes:
    curvatures: Tensor
    directions: Tensor
    second_moments: Tensor


def excess_risk(
    mixing_matrix: ArrayLike,
    hessian: ArrayLike,
    noise_covariance: ArrayLike,
    heterogeneity: ArrayLike | None,
    step_size: float,
    batch_size: float,
    steps: int | None = None,
    *,
    method: Method = "diffusion",
) -> float:
    """Return the exact excess risk near a minimum.

    Args:
        mixing_matrix: ``[agents, agents]``, symmetric and doubly stochastic. Of the centralized method only
            the number of agents counts.
        hessian: ``[dimension, dimension]``, shared by all agents.
        noise_covariance: ``[dimension, dimension]``, of the gradient noise of one sample.
        heterogeneity: ``[agents, dimension]``, local gradients at the minimum; None for none.
        step_size: mu.
        batch_size: samples per agent and step; ``math.inf`` for no noise.
        steps: taken from the minimum; None for the steady state.
        method: one of :data:`~graftwork_decentral.flatness.methods.METHODS`.

    Raises:
        ValueError: an argument is out of its range, or there is no steady state at this step size.

    >>> pair, one = [[0.75, 0.25], [0.25, 0.75]], [[1.0]]
    >>> for method in ("centralized", "diffusion", "consensus"):
    ...     round(excess_risk(pair, one, one, [[1], [-1]], 0.1, 1, method=method), 6)
    0.013158
    0.018074
    0.030023
    """
    modes = _modes(
        mixing_matrix, hessian, noise_covariance, heterogeneity, step_size, batch_size, steps, method
    )
    energies = torch.diagonal(modes.second_moments, dim1=1, dim2=2) * modes.curvatures
    return float(energies.sum()) / (2 * modes.second_moments.shape[0])


def consensus_covariance(
    mixing_matrix: ArrayLike,
    hessian: ArrayLike,
    noise_covariance: ArrayLike,
    heterogeneity: ArrayLike | None,
    step_size: float,
    batch_size: float,
    steps: int | None = None,
    *,
    method: Method = "diffusion",
) -> Tensor:
    """Return S, the expected spread of agents about their centroid, averaged over agents.

    The centroid drifts along -mu grad(J + Tr(HS) / 2) to second order, which is how disagreement smooths a
    landscape.

    Args:
        mixing_matrix: see :func:`excess_risk`, as are the others.

    Returns:
        ``[dimension, dimension]`` in float64; zeros for the centralized method.

    Raises:
        ValueError: as :func:`excess_risk`.

    >>> pair = [[0.75, 0.25], [0.25, 0.75]]
    >>> consensus_covariance(pair, [[1.0]], [[1.0]], None, 0.1, 1, method="consensus")
    tensor([[0.0060]], dtype=torch.float64)
    """
    modes = _modes(
        mixing_matrix, hessian, noise_covariance, heterogeneity, step_size, batch_size, steps, method
    )
    spread = modes.second_moments[1:].sum(0) / modes.second_moments.shape[0]
    return modes.directions @ spread @ modes.directions.mT


def _modes(
    mixing_matrix: ArrayLike,
    hessian: ArrayLike,
    noise_covariance: ArrayLike,
    heterogeneity: ArrayLike | None,
    step_size: float,
    batch_size: float,
    steps: int | None,
    method: Method,
) -> _Modes:
    require_method(method)
    weights, curvature = mixing(mixing_matrix), symmetric_matrix("hessian", hessian)
    dimension = curvature.shape[0]
    noise = symmetric_matrix("noise_covariance", noise_covariance)
    if noise.shape != curvature.shape:
        raise ValueError(
            f"noise_covariance must be of the Hessian's shape {list(curvature.shape)}, "
            f"got {list(noise.shape)}"
        )
    local = heterogeneity_of(heterogeneity, weights.shape[0], dimension)
    step_size = positive("step_size", step_size)
    noise = noise / positive("batch_size", batch_size, infinite=True)
    steps = step_count(steps)

    lam, agent_directions = mixing_modes(weights)
    curvatures, directions = torch.linalg.eigh(curvature)
    contraction, gain = _contraction_and_gain(method, lam, curvatures, step_size)
    if steps is None:
        _require_stable(method, contraction, lam, curvatures, step_size)
    inputs = agent_directions.mT @ local @ directions
    # Local gradients sum to zero; what rounding leaves of that sum is no part of the answer.
    inputs[0] = 0.0
    mean = -step_size * gain[:, None] * inputs * _geometric_sum(contraction, steps)
    pairs = contraction[:, :, None] * contraction[:, None, :]
    rotated = directions.mT @ noise @ directions
    covariance = (step_size * gain[:, None, None]) ** 2 * rotated * _geometric_sum(pairs, steps)
    return _Modes(curvatures, directions, mean[:, :, None] * mean[:, None, :] + covariance)


def _contraction_and_gain(
    method: Method, lam: Tensor, curvatures: Tensor, step_size: float
) -> tuple[Tensor, Tensor]:
    """Return a ``[agents, dimension]`` and c ``[agents]``."""
    one_step = 1 - step_size * curvatures
    if method == "consensus":
        return lam[:, None] - step_size * curvatures, torch.ones_like(lam)
    if method == "centralized":
        # Full averaging: all modes but the first receive nothing and forget at once.
        lam = torch.zeros_like(lam)
        lam[0] = 1.0
        return lam[:, None] * one_step, lam
    return lam[:, None] * one_step, lam if method == "diffusion" else torch.ones_like(lam)


def _geometric_sum(ratio: Tensor, terms: int | None) -> Tensor:
    """Return 1 + ratio + ratio^2 + ..., endless for None."""
    if terms is None:
        return 1 / (1 - ratio)
    at_one = ratio == 1
    divisor = torch.where(at_one, 1.0, 1 - ratio)
    return torch.where(at_one, float(terms), (1 - ratio**terms) / divisor)


def _require_stable(
    method: Method, contraction: Tensor, lam: Tensor, curvatures: Tensor, step_size: float
) -> None:
    if float(curvatures[0]) <= 0:
        raise ValueError(
            "hessian must be positive definite for a steady state, its smallest eigenvalue is "
            f"{float(curvatures[0]):.6g}; "
            "give steps for a horizon that is finite"
        )
    if bool((contraction.abs() < 1).all()):
        return
    smallest = float(lam.min()) if method == "consensus" else 1.0
    rule = "(1 + smallest eigenvalue of mixing_matrix)" if method == "consensus" else "2"
    bound = (1 + smallest) / float(curvatures[-1])
    raise ValueError(
        f"step_size must be below {bound:.6g} = {rule} / largest eigenvalue of hessian for {method} to have "
        f"a steady state, got {step_size}"
    )
