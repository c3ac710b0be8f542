"""Excess risk where every agent has its own Hessian and noise: all agents stacked, a Lyapunov equation.

Derived here for the quadratic model of arXiv:2406.20006. With D = blockdiag(mu H_k) and X = W (x) I the
stacked error obeys e+ = T e - mu G (b + noise),

    consensus       T = X - D            G = I
    diffusion       T = X (I - D)        G = X
    cta-diffusion   T = (I - D) X        G = I
    centralized     T = I - mu mean_k H_k on one model, the noise averaged over agents

so mean and covariance from the minimum are m+ = T m - mu G b and P+ = T P T' + mu^2 G (R / B) G'. After n
steps they are summed by doubling, at log2(n) products; the steady state is a linear and a discrete Lyapunov
solve. Excess risk = 1 / (2K) sum_k Tr(H (P + m m')_kk), H the mean Hessian. Meant for a few hundred unknowns
agents x dimension.
"""

from __future__ import annotations

import torch
from scipy.linalg import solve_discrete_lyapunov
from torch import Tensor

from graftwork_decentral.flatness.arrays import (
    ArrayLike,
    heterogeneity_of,
    mixing,
    positive,
    step_count,
    symmetric_stack,
)
from graftwork_decentral.flatness.methods import Method, require_method


def excess_risk_general(
    mixing_matrix: ArrayLike,
    hessians: ArrayLike,
    noise_covariances: ArrayLike,
    heterogeneity: ArrayLike | None,
    step_size: float,
    batch_size: float,
    steps: int | None = None,
    *,
    method: Method = "diffusion",
) -> float:
    """Return the exact excess risk of agents that differ in curvature and noise.

    Args:
        mixing_matrix: ``[agents, agents]``, symmetric and doubly stochastic.
        hessians: ``[agents, dimension, dimension]``, of each agent's function at the minimum of the mean.
        noise_covariances: ``[agents, dimension, dimension]``, of one sample's gradient noise.
        heterogeneity: ``[agents, dimension]``, local gradients at the minimum; None for none.
        step_size: mu.
        batch_size: samples per agent and step; ``math.inf`` for no noise.
        steps: taken from the minimum; None for the steady state.
        method: one of :data:`~graftwork_decentral.flatness.methods.METHODS`.

    Raises:
        ValueError: an argument is out of its range, or there is no steady state at this step size.

    >>> pair, ones = [[0.75, 0.25], [0.25, 0.75]], [[[1.0]], [[1.0]]]
    >>> from graftwork_decentral.flatness.theory import excess_risk
    >>> general = excess_risk_general(pair, ones, ones, [[1.0], [-1.0]], 0.1, 1)
    >>> abs(general / excess_risk(pair, [[1.0]], [[1.0]], [[1.0], [-1.0]], 0.1, 1) - 1) < 1e-12
    True
    """
    require_method(method)
    weights = mixing(mixing_matrix)
    agents = weights.shape[0]
    curvatures = symmetric_stack("hessians", hessians, agents)
    noises = symmetric_stack("noise_covariances", noise_covariances, agents)
    if noises.shape != curvatures.shape:
        raise ValueError(
            f"noise_covariances must be of the Hessians' shape {list(curvatures.shape)}, "
            f"got {list(noises.shape)}"
        )
    dimension = curvatures.shape[1]
    local = heterogeneity_of(heterogeneity, agents, dimension)
    step_size = positive("step_size", step_size)
    noises = noises / positive("batch_size", batch_size, infinite=True)
    steps = step_count(steps)

    mean_curvature = curvatures.mean(0)
    if method == "centralized":
        transition = torch.eye(dimension, dtype=torch.float64) - step_size * mean_curvature
        drive = torch.zeros(dimension, dtype=torch.float64)
        noise = step_size**2 * noises.mean(0) / agents
    else:
        transition, gain = _stacked(method, weights, step_size * curvatures)
        drive = -step_size * gain @ local.flatten()
        noise = step_size**2 * gain @ _block_diagonal(noises) @ gain.mT
    if steps is None:
        _require_stable(method, transition, weights, curvatures, step_size)
        mean, covariance = _steady(transition, drive, noise)
    else:
        mean, covariance = _after(steps, transition, drive, noise)
    second_moment = covariance + torch.outer(mean, mean)
    models = len(mean) // dimension
    blocks = second_moment.reshape(models, dimension, models, dimension)
    return float(torch.einsum("kikj,ij->", blocks, mean_curvature)) / (2 * models)


def _stacked(method: Method, weights: Tensor, scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Return T and G, ``[agents x dimension, agents x dimension]``; ``scaled`` are mu H_k."""
    identity = torch.eye(scaled.shape[0] * scaled.shape[1], dtype=torch.float64)
    exchange = torch.kron(weights, torch.eye(scaled.shape[1], dtype=torch.float64))
    curvature = _block_diagonal(scaled)
    if method == "consensus":
        return exchange - curvature, identity
    if method == "diffusion":
        return exchange @ (identity - curvature), exchange
    return (identity - curvature) @ exchange, identity


def _block_diagonal(blocks: Tensor) -> Tensor:
    agents, dimension, _ = blocks.shape
    whole = torch.zeros(agents, dimension, agents, dimension, dtype=torch.float64)
    index = torch.arange(agents)
    whole[index, :, index, :] = blocks
    return whole.reshape(agents * dimension, agents * dimension)


def _steady(transition: Tensor, drive: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    identity = torch.eye(len(drive), dtype=torch.float64)
    mean = torch.linalg.solve(identity - transition, drive)
    covariance = _lyapunov(transition, noise)
    # The solver's own error grows with closeness to the bound of stability; one correction takes it away.
    residual = noise + transition @ covariance @ transition.mT - covariance
    return mean, covariance + _lyapunov(transition, residual)


def _lyapunov(transition: Tensor, noise: Tensor) -> Tensor:
    return torch.from_numpy(solve_discrete_lyapunov(transition.numpy(), noise.numpy()))


def _after(steps: int, transition: Tensor, drive: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance after a number of steps, by the binary digits of that number."""
    mean, covariance = torch.zeros_like(drive), torch.zeros_like(noise)
    power = torch.eye(len(drive), dtype=torch.float64)
    for digit in f"{steps:b}":
        mean, covariance = mean + power @ mean, covariance + power @ covariance @ power.mT
        power = power @ power
        if digit == "1":
            mean, covariance = transition @ mean + drive, transition @ covariance @ transition.mT + noise
            power = transition @ power
    return mean, covariance


def _require_stable(
    method: Method, transition: Tensor, weights: Tensor, curvatures: Tensor, step_size: float
) -> None:
    radius = float(torch.linalg.eigvals(transition).abs().max())
    if radius < 1:
        return
    local = torch.linalg.eigvalsh(curvatures)
    message = (
        f"step_size {step_size} gives {method} no steady state: the spectral radius is {radius:.6g}, "
        "and must be below 1"
    )
    if float(local.min()) > 0:
        largest = torch.linalg.eigvalsh(curvatures.mean(0)).max() if method == "centralized" else local.max()
        lowest = float(torch.linalg.eigvalsh(weights).min()) if method == "consensus" else 1.0
        message += f"; any step_size below {(1 + lowest) / float(largest):.6g} has one"
    else:
        message += "; the mean Hessian must be positive definite, or give steps for a horizon that is finite"
    raise ValueError(message)
