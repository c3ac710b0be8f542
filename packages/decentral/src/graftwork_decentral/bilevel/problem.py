"""What a bilevel problem is, for one agent.

Agent i owns an upper loss f_i and a lower loss g_i, both over its own data (arXiv:2411.14166)::

    min_x  (1/n) sum_i f_i(x, y*(x)),      y*(x) = argmin_y (1/n) sum_i g_i(x, y)

x ``[upper variables]`` and y ``[lower variables]`` are flat; the mean of g is strongly convex in y. Which
agent a loss belongs to is said by its batch: any nest of dictionaries, tuples and lists of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

Batch = Any
"""One agent's data, or that of several with a leading agents dimension in every tensor."""

Schedule = float | Callable[[int], float]
"""A number, or one for every step."""

Order = Literal["gauss_seidel", "jacobi"]
HvpMode = Literal["auto", "forward", "reverse"]


@runtime_checkable
class BilevelProblem(Protocol):
    """Both losses of one agent.

    A problem may also have derivatives in closed form, each for one agent and used instead of automatic
    differentiation: ``lower_gradient(x, y, batch)`` is grad_y g; ``hessian_vector(x, y, vector, batch)`` is
    hess_yy g times a vector; ``cross_vector(x, y, vector, batch)`` is hess_xy g ``[upper, lower]`` times a
    vector; ``upper_gradients(x, y, batch)`` is the pair of grad_x f and grad_y f. One that has all four, and
    whose four take all agents at once (a leading agents dimension in every argument), says so with
    ``closed_forms_take_all_agents = True``.
    """

    @property
    def upper_variables(self) -> int:
        """How many numbers x has."""
        ...

    @property
    def lower_variables(self) -> int:
        """How many numbers y has."""
        ...

    def upper_loss(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return f of one agent, a scalar; differentiable."""
        ...

    def lower_loss(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return g of one agent, a scalar; twice differentiable."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class BilevelSettings:
    """What every bilevel method is given.

    Args:
        alpha: step of the upper variables.
        beta: step of the lower variables.
        gamma: step of the auxiliary variables.
        theta: weight of the newest hypergradient in the moving average; 1 averages nothing.
        order: gauss_seidel takes each level at the newest values of those before it; jacobi takes all at the
            old values, and sends one message a step.
        share_batch: use one batch for all three directions: cheaper, slightly biased.
        hvp_mode: how Hessian-vector products are computed: forward over reverse, reverse over reverse, or
            forward where it exists.
        vectorize: compute all agents' derivatives at once.

    Raises:
        ValueError: a number is not positive or not finite, or theta is above 1.

    >>> BilevelSettings(alpha=0.1, beta=0.1, gamma=0.1).theta
    1.0
    """

    alpha: Schedule
    beta: Schedule
    gamma: Schedule
    theta: Schedule = 1.0
    order: Order = "gauss_seidel"
    share_batch: bool = False
    hvp_mode: HvpMode = "auto"
    vectorize: bool = True

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            value = getattr(self, name)
            if not callable(value) and not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {value}")
        if not callable(self.theta) and not 0 < self.theta <= 1:
            raise ValueError(f"theta must be above 0 and at most 1, got {self.theta}")
        if self.order not in ("gauss_seidel", "jacobi"):
            raise ValueError(f"order must be 'gauss_seidel' or 'jacobi', got {self.order!r}")
        if self.hvp_mode not in ("auto", "forward", "reverse"):
            raise ValueError(f"hvp_mode must be 'auto', 'forward' or 'reverse', got {self.hvp_mode!r}")


class BilevelMethod(Protocol):
    """A running method; its rows are the agents of this process."""

    name: str
    steps_taken: int

    @property
    def upper(self) -> Tensor:
        """x, ``[agents here, upper variables]``."""
        ...

    @property
    def lower(self) -> Tensor:
        """y, ``[agents here, lower variables]``."""
        ...

    def step(self, batches: Batch | tuple[Batch, Batch, Batch]) -> None:
        """Take one step."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything a later step depends on, as tensors and plain data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        ...


def at_step(schedule: Schedule, step: int) -> float:
    """Return what a schedule says for a step.

    >>> at_step(0.5, 3), at_step(lambda step: 1 / (1 + step), 3)
    (0.5, 0.25)
    """
    return schedule(step) if callable(schedule) else schedule
