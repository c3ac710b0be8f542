"""The three directions of a bilevel step, for all agents of a process at once.

For agent i, with H = hess_yy g and J = hess_xy g ``[upper, lower]`` (arXiv:2411.14166)::

    v = grad_y g(x, y)                          lower
    q = H z - grad_y f(x, y)                    auxiliary, one Hessian-vector product
    u = grad_x f(x, y) - J z                    upper, one product with J (a vjp of grad_y g)

x is ``[agents here, upper]``, y and z are ``[agents here, lower]``, batches have a leading agents dimension.
Nothing here is averaged over agents, and no Hessian is ever formed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap
from torch.utils import _pytree as pytree

from graftwork_decentral.bilevel.problem import Batch, BilevelProblem, HvpMode


class Oracles:
    """Computes directions from a problem's losses, or from its own derivatives where it has them.

    Args:
        problem: of one agent.
        hvp_mode: ``forward`` over reverse, ``reverse`` over reverse for models that have no forward mode
            (fused attention), or ``auto``, which changes to reverse when forward is not implemented.
        vectorize: one call for all agents; else a loop over them, for models that cannot be vectorized.
        analytic: whether to use derivatives that the problem brings.

    >>> from graftwork_decentral.bilevel.quadratic import Quadratic
    >>> problem = Quadratic(agents=3, upper_variables=2, lower_variables=4)
    >>> x, y = torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    >>> Oracles(problem).lower(x, y, problem.data()).shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        problem: BilevelProblem,
        *,
        hvp_mode: HvpMode = "auto",
        vectorize: bool = True,
        analytic: bool = True,
    ) -> None:
        self.problem = problem
        self.vectorize = vectorize
        self._forward = hvp_mode != "reverse"
        self._may_change = hvp_mode == "auto"
        self._own = {
            name: getattr(problem, name, None) if analytic else None
            for name in ("lower_gradient", "hessian_vector", "cross_vector", "upper_gradients")
        }

        self._all_at_once = analytic and getattr(problem, "closed_forms_take_all_agents", False)

    def lower(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return v, ``[agents here, lower]``."""
        result: Tensor = self._over_agents(self._lower_gradient, x, y, batch)
        return result

    def auxiliary(self, x: Tensor, y: Tensor, z: Tensor, batch: Batch) -> Tensor:
        """Return q, ``[agents here, lower]``."""

        def direction(x: Tensor, y: Tensor, z: Tensor, batch: Batch) -> Tensor:
            return self._hessian_vector(x, y, z, batch) - self._upper_gradients(x, y, batch)[1]

        return self._mending(lambda: self._over_agents(direction, x, y, z, batch))

    def upper(self, x: Tensor, y: Tensor, z: Tensor, batch: Batch) -> Tensor:
        """Return u, ``[agents here, upper]``."""

        def direction(x: Tensor, y: Tensor, z: Tensor, batch: Batch) -> Tensor:
            return self._upper_gradients(x, y, batch)[0] - self._cross_vector(x, y, z, batch)

        result: Tensor = self._over_agents(direction, x, y, z, batch)
        return result

    def together(self, x: Tensor, y: Tensor, z: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return v, q and u at one point from one batch: one gradient of f and one of g, and one product.

        The vector-Jacobian product of ``(x, y) -> grad_y g`` with z is ``(J z, H z)``.
        """

        if self._all_at_once:
            upper_x, upper_y = self._upper_gradients(x, y, batch)
            auxiliary = self._hessian_vector(x, y, z, batch) - upper_y
            upper = upper_x - self._cross_vector(x, y, z, batch)
            return self._lower_gradient(x, y, batch), auxiliary, upper

        def directions(x: Tensor, y: Tensor, z: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
            upper_x, upper_y = self._upper_gradients(x, y, batch)
            pulled: Any = vjp(lambda x, y: self._lower_gradient(x, y, batch), x, y)
            lower_gradient, (cross, hessian) = pulled[0], pulled[1](z)
            return lower_gradient, hessian - upper_y, upper_x - cross

        three: tuple[Tensor, Tensor, Tensor] = self._over_agents(directions, x, y, z, batch)
        return three

    @torch.no_grad()
    def upper_losses(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return f of every agent, ``[agents here]``."""
        losses: Tensor = self._over_agents(self.problem.upper_loss, x, y, batch)
        return losses

    def _lower_gradient(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        own = self._own["lower_gradient"]
        gradient: Tensor = own(x, y, batch) if own else grad(self.problem.lower_loss, argnums=1)(x, y, batch)
        return gradient

    def _upper_gradients(self, x: Tensor, y: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        own = self._own["upper_gradients"]
        pair = own(x, y, batch) if own else grad(self.problem.upper_loss, argnums=(0, 1))(x, y, batch)
        return pair[0], pair[1]

    def _hessian_vector(self, x: Tensor, y: Tensor, vector: Tensor, batch: Batch) -> Tensor:
        own = self._own["hessian_vector"]
        if own:
            given: Tensor = own(x, y, vector, batch)
            return given
        if self._forward:
            forward: Tensor = jvp(lambda y: self._lower_gradient(x, y, batch), (y,), (vector,))[1]
            return forward
        reverse: Tensor = vjp(lambda y: self._lower_gradient(x, y, batch), y)[1](vector)[0]
        return reverse

    def _cross_vector(self, x: Tensor, y: Tensor, vector: Tensor, batch: Batch) -> Tensor:
        own = self._own["cross_vector"]
        product: Tensor = (
            own(x, y, vector, batch)
            if own
            else vjp(lambda x: self._lower_gradient(x, y, batch), x)[1](vector)[0]
        )
        return product

    def _mending(self, compute: Callable[[], Any]) -> Tensor:
        """Change to reverse mode for good where forward mode turns out not to be implemented."""
        try:
            result: Tensor = compute()
        except NotImplementedError:
            if not (self._forward and self._may_change):
                raise
            self._forward = False
            result = compute()
        return result

    def _over_agents(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._all_at_once and function != self.problem.upper_loss:
            return function(*arguments)
        if self.vectorize:
            dimensions = tuple(None if argument is None else 0 for argument in arguments)
            return vmap(function, in_dims=dimensions, randomness="different")(*arguments)
        agents = len(arguments[0])
        rows = [
            function(*(pytree.tree_map(lambda tensor, i=i: tensor[i], argument) for argument in arguments))
            for i in range(agents)
        ]
        if isinstance(rows[0], tuple):
            return tuple(torch.stack(column) for column in zip(*rows, strict=True))
        return torch.stack(rows)
