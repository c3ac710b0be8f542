"""What the theory and the simulator take for arrays, checked and brought to float64.

Shapes: mixing matrix ``[agents, agents]``, Hessian and noise covariance ``[dimension, dimension]``,
heterogeneity (local gradients at the minimum) ``[agents, dimension]``. Every function raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ArrayLike: TypeAlias = Tensor | NDArray[Any] | Sequence[Any]
"""A torch tensor, a numpy array or nested lists of numbers."""

_TOLERANCE = 1e-9


def as_float64(name: str, values: ArrayLike) -> Tensor:
    """Return finite numbers as a float64 tensor in main memory."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=np.float64))
    tensor = tensor.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} must be finite")
    return tensor


def symmetric_matrix(name: str, values: ArrayLike) -> Tensor:
    """Return a symmetric square matrix, or raise for what is not."""
    matrix = as_float64(name, values)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be a square matrix, got shape {tuple(matrix.shape)}")
    return _made_symmetric(name, matrix)


def symmetric_stack(name: str, values: ArrayLike, agents: int) -> Tensor:
    """Return symmetric matrices ``[agents, dimension, dimension]``, or raise for what is not."""
    stack = as_float64(name, values)
    if stack.ndim != 3 or stack.shape[0] != agents or stack.shape[1] != stack.shape[2]:
        raise ValueError(
            f"{name} must be [agents, dimension, dimension] with {agents} agents, got {tuple(stack.shape)}"
        )
    return _made_symmetric(name, stack)


def _made_symmetric(name: str, matrices: Tensor) -> Tensor:
    asymmetry = float((matrices - matrices.mT).abs().max())
    if asymmetry > _TOLERANCE * max(1.0, float(matrices.abs().max())):
        raise ValueError(f"{name} must be symmetric, but differs from its transpose by {asymmetry:.3g}")
    return (matrices + matrices.mT) / 2


def mixing(values: ArrayLike) -> Tensor:
    """Return a mixing matrix: symmetric, rows that sum to one, eigenvalues in [-1, 1].

    >>> mixing([[0.75, 0.25], [0.25, 0.75]])
    tensor([[0.7500, 0.2500],
            [0.2500, 0.7500]], dtype=torch.float64)
    """
    matrix = symmetric_matrix("mixing_matrix", values)
    excess = float((matrix.sum(1) - 1).abs().max())
    if excess > _TOLERANCE:
        raise ValueError(f"mixing_matrix must be doubly stochastic, but a row's sum is off by {excess:.3g}")
    radius = float(torch.linalg.eigvalsh(matrix).abs().max())
    if radius > 1 + _TOLERANCE:
        raise ValueError(f"mixing_matrix must have its eigenvalues in [-1, 1], got one of size {radius:.6g}")
    return matrix


def mixing_modes(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues ``[agents]`` and eigenvectors, columns; the first is 1 with the constant vector."""
    agents = matrix.shape[0]
    # Two more in the constant direction keep it apart from other eigenvalues 1, of graphs in several parts.
    values, vectors = torch.linalg.eigh(matrix + 2 / agents)
    values, vectors = values.flip(0), vectors.flip(1)
    values[0], vectors[:, 0] = 1.0, 1 / math.sqrt(agents)
    return values, vectors


def heterogeneity_of(values: ArrayLike | None, agents: int, dimension: int) -> Tensor:
    """Return local gradients at the minimum, which sum to zero; zeros for None."""
    if values is None:
        return torch.zeros(agents, dimension, dtype=torch.float64)
    gradients = as_float64("heterogeneity", values)
    if gradients.shape != (agents, dimension):
        raise ValueError(
            f"heterogeneity must be [agents, dimension] = [{agents}, {dimension}], "
            f"got {list(gradients.shape)}"
        )
    excess = float(gradients.sum(0).abs().max())
    if excess > _TOLERANCE * max(1.0, float(gradients.abs().max()) * agents):
        raise ValueError(
            f"heterogeneity must sum to zero over agents, for these are gradients at a minimum of the mean; "
            f"the sum is off by {excess:.3g}"
        )
    return gradients


def positive(name: str, value: float, *, infinite: bool = False) -> float:
    """Return a positive number, infinite where that is allowed, or raise."""
    if not value > 0 or (math.isinf(value) and not infinite):
        raise ValueError(f"{name} must be positive{'' if infinite else ' and finite'}, got {value}")
    return float(value)


def step_count(steps: int | None) -> int | None:
    """Return the number of steps, None for the steady state, or raise."""
    if steps is not None and steps < 0:
        raise ValueError(f"steps must be 0 or more, or None for the steady state, got {steps}")
    return steps
