"""What a simulated run is of: a landscape, agents that differ, noise, and a step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_decentral.flatness.arrays import (
    ArrayLike,
    as_float64,
    heterogeneity_of,
    mixing,
    positive,
    symmetric_matrix,
    symmetric_stack,
)
from graftwork_decentral.flatness.lab.landscapes import Landscape

_NEGATIVE = -1e-9


@dataclass(frozen=True, slots=True)
class Problem:
    """Agents that descend J_k(w) = J(w) + b_k'w by gradients with Gaussian noise.

    Args:
        landscape: J.
        mixing_matrix: ``[agents, agents]``, symmetric and doubly stochastic.
        step_size: mu.
        noise_covariance: of one sample's gradient noise, ``[dimension, dimension]`` or, for one per agent,
            ``[agents, dimension, dimension]``; None for no noise.
        heterogeneity: b, ``[agents, dimension]``, which sums to zero; None for none.
        batch_size: samples per agent and step, by which the covariance is divided; ``math.inf`` for no noise.

    Raises:
        ValueError: an argument is out of its range.

    >>> from graftwork_decentral.flatness.lab.landscapes import DoubleWell
    >>> Problem(DoubleWell(), [[0.75, 0.25], [0.25, 0.75]], 0.02, [[18.0**2]]).agents
    2
    """

    landscape: Landscape
    mixing_matrix: ArrayLike
    step_size: float
    noise_covariance: ArrayLike | None = None
    heterogeneity: ArrayLike | None = None
    batch_size: float = 1.0

    def __post_init__(self) -> None:
        positive("step_size", self.step_size)
        positive("batch_size", self.batch_size, infinite=True)
        self.weights()
        self.linear_terms()
        self.noise_factor()

    @property
    def agents(self) -> int:
        """How many."""
        return len(self.mixing_matrix)

    def weights(self) -> Tensor:
        """Return the mixing matrix in float64."""
        return mixing(self.mixing_matrix)

    def linear_terms(self) -> Tensor:
        """Return b ``[agents, dimension]``."""
        return heterogeneity_of(self.heterogeneity, self.agents, self.landscape.dimension)

    def noise_factor(self) -> Tensor | None:
        """Return what standard normal rows are multiplied by, or None.

        ``[dimension, dimension]``, or ``[agents, dimension, dimension]``.
        """
        if self.noise_covariance is None or math.isinf(self.batch_size):
            return None
        covariance = as_float64("noise_covariance", self.noise_covariance)
        if covariance.ndim == 3:
            covariance = symmetric_stack("noise_covariance", covariance, self.agents)
        else:
            covariance = symmetric_matrix("noise_covariance", covariance)
        if covariance.shape[-1] != self.landscape.dimension:
            raise ValueError(
                f"noise_covariance must be of dimension {self.landscape.dimension}, "
                f"got {covariance.shape[-1]}"
            )
        values, directions = torch.linalg.eigh(covariance)
        if float(values.min()) < _NEGATIVE * float(values.abs().max()):
            raise ValueError(
                "noise_covariance must be positive semidefinite, its smallest eigenvalue is "
                f"{float(values.min()):.6g}"
            )
        deviations = (values.clamp_min(0) / self.batch_size).sqrt()
        factor: Tensor = (directions * deviations[..., None, :]).mT
        return factor.contiguous()
