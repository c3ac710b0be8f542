"""A bilevel problem whose solution is known, with agents as different as they are alike.

    f_i = 0.5 |y - a_i|^2 + (m / 2) |x - c_i|^2,      g_i = 0.5 y' Q_i y - y' (P_i x + b_i)

With bars for means over agents and ``S = Qb^-1 Pb``::

    y*(x) = Qb^-1 (Pb x + bb),    z*(x) = Qb^-1 (y* - ab),    grad Phi(x) = m (x - cb) + Pb' z*
    (S'S + m I) x* = S' (ab - Qb^-1 bb) + m cb

Derived here. The coupling is drawn with entries of variance 1/q (q lower variables), which keeps its norm
near 2: a coupling whose square is large against the ratio of the steps makes any single-loop method
oscillate. Everything is float64; the drawn data of all agents stands in the problem, and an agent's part
of it is its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from graftwork_decentral.bilevel.problem import Batch


class Quadratic:
    """A drawn problem.

    Args:
        agents: how many.
        upper_variables: size of x.
        lower_variables: size of y.
        curvature: m, of the upper loss in x.
        heterogeneity: size of what is an agent's own, relative to what all have in common.
        seed: of the draw.
        dtype: of the data; drawn in float64 whatever it is.

    Raises:
        ValueError: a size is below 1, or the curvature is not positive.

    >>> problem = Quadratic(agents=4, upper_variables=2, lower_variables=3)
    >>> float(problem.gradient(problem.upper_solution).norm()) < 1e-12
    True
    """

    closed_forms_take_all_agents = True

    def __init__(
        self,
        *,
        agents: int = 10,
        upper_variables: int = 5,
        lower_variables: int = 8,
        curvature: float = 0.5,
        heterogeneity: float = 1.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        for name, value in {
            "agents": agents,
            "upper_variables": upper_variables,
            "lower_variables": lower_variables,
        }.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not curvature > 0:
            raise ValueError(f"curvature must be above 0, got {curvature}")
        self.agents, self.upper_variables, self.lower_variables = agents, upper_variables, lower_variables
        self.curvature = curvature
        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape: int) -> Tensor:
            common = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
            own = torch.randn(agents, *shape, generator=generator, dtype=torch.float64)
            return common + heterogeneity * own

        root = torch.randn(agents, lower_variables, lower_variables, generator=generator, dtype=torch.float64)
        gram = root @ root.mT / lower_variables
        # As much of the curvature is an agent's own as everything else is.
        own = gram.mean(0) + heterogeneity * (gram - gram.mean(0))
        self._data = {
            "curvature": (torch.eye(lower_variables, dtype=torch.float64) + own / 2).to(dtype),
            "coupling": (drawn(lower_variables, upper_variables) / lower_variables**0.5).to(dtype),
            "shift": drawn(lower_variables).to(dtype),
            "wanted_lower": drawn(lower_variables).to(dtype),
            "wanted_upper": drawn(upper_variables).to(dtype),
        }

    def data(self, agents: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Return the batch of some agents, all of them unless given."""
        rows = list(range(self.agents) if agents is None else agents)
        return {name: value[rows] for name, value in self._data.items()}

    def upper_loss(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return f of one agent."""
        lower = (y - batch["wanted_lower"]).square().sum() / 2
        loss: Tensor = lower + self.curvature / 2 * (x - batch["wanted_upper"]).square().sum()
        return loss

    def lower_loss(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return g of one agent."""
        loss: Tensor = y @ (batch["curvature"] @ y / 2 - batch["coupling"] @ x - batch["shift"])
        return loss

    def lower_gradient(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return grad_y g."""
        gradient: Tensor = _product(batch["curvature"], y) - _product(batch["coupling"], x) - batch["shift"]
        return gradient

    def hessian_vector(self, x: Tensor, y: Tensor, vector: Tensor, batch: Batch) -> Tensor:
        """Return hess_yy g times a vector."""
        return _product(batch["curvature"], vector)

    def cross_vector(self, x: Tensor, y: Tensor, vector: Tensor, batch: Batch) -> Tensor:
        """Return hess_xy g times a vector."""
        return -_product(batch["coupling"].mT, vector)

    def upper_gradients(self, x: Tensor, y: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return grad_x f and grad_y f."""
        return self.curvature * (x - batch["wanted_upper"]), y - batch["wanted_lower"]

    @cached_property
    def mean(self) -> dict[str, Tensor]:
        """The means over agents, in float64."""
        return {name: value.double().mean(0) for name, value in self._data.items()}

    def lower_solution(self, x: Tensor) -> Tensor:
        """Return y*(x)."""
        mean = self.mean
        solution: Tensor = torch.linalg.solve(mean["curvature"], mean["coupling"] @ x + mean["shift"])
        return solution

    def auxiliary_solution(self, x: Tensor) -> Tensor:
        """Return z*(x)."""
        mean = self.mean
        solution: Tensor = torch.linalg.solve(
            mean["curvature"], self.lower_solution(x) - mean["wanted_lower"]
        )
        return solution

    def gradient(self, x: Tensor) -> Tensor:
        """Return grad Phi(x)."""
        mean = self.mean
        return self.curvature * (x - mean["wanted_upper"]) + mean["coupling"].mT @ self.auxiliary_solution(x)

    @cached_property
    def upper_solution(self) -> Tensor:
        """x*, ``[upper_variables]``."""
        mean = self.mean
        sensitivity = torch.linalg.solve(mean["curvature"], mean["coupling"])
        unmoved = torch.linalg.solve(mean["curvature"], mean["shift"])
        identity = torch.eye(self.upper_variables, dtype=torch.float64)
        solution: Tensor = torch.linalg.solve(
            sensitivity.mT @ sensitivity + self.curvature * identity,
            sensitivity.mT @ (mean["wanted_lower"] - unmoved) + self.curvature * mean["wanted_upper"],
        )
        return solution

    def error(self, upper: Tensor) -> float:
        """Return ``sum_i |x_i - x*|^2``.

        Args:
            upper: ``[agents, upper_variables]``.
        """
        return float((upper.double() - self.upper_solution).square().sum())


def _product(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix times vector, of one agent or of all."""
    product: Tensor = (matrix @ vector[..., None])[..., 0]
    return product
