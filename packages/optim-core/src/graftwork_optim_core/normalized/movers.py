"""The parameters that take part in a step, each with what belongs to it in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graftwork_optim_core.common.parameters import arithmetic_dtype, named_parameters
from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.common.sharding import local_gradient, local_part


class Mover(NamedTuple):
    """One parameter with a gradient.

    Args:
        name: or its position where it has none.
        parameter: itself.
        values: its part in this process.
        gradient: likewise, with coupled weight decay.
        momentum: likewise, of the running direction.
        state: all that is kept for it.
        options: of its group.
    """

    name: str
    parameter: Tensor
    values: Tensor
    gradient: Tensor
    momentum: Tensor
    state: dict[str, Any]
    options: Mapping[str, Any]

    @property
    def sign(self) -> float:
        """Minus one where the objective is maximized: the values then move along the direction."""
        return -1.0 if self.options["maximize"] else 1.0

    @property
    def mixing(self) -> float:
        """What part of the new direction the gradient is after the first step: a of the papers."""
        return 1.0 - float(self.options["momentum"])

    def weight(self, on_host: bool) -> Scalar:
        """Return what part of the new direction the gradient is: all of it at the first step."""
        if on_host:
            return self.mixing if float(self.state["step"]) else 1.0
        rest = torch.full_like(self.state["step"], self.mixing, dtype=arithmetic_dtype(self.parameter))
        return torch.where(self.state["step"] == 0, torch.ones_like(rest), rest)

    def rate(self, on_host: bool) -> Scalar:
        """Return the learning rate, with its sign."""
        rate = self.options["lr"]
        if on_host or not isinstance(rate, Tensor):
            return float(rate) * self.sign
        return rate.reshape(()).to(self.values.device) * self.sign

    def kept(self, rate: Scalar) -> Scalar:
        """Return what decoupled weight decay leaves of the values."""
        return 1 - rate * self.sign * float(self.options["weight_decay"])


def with_gradients(groups: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Tensor, Tensor, dict[str, Any]]]:
    """Yield name, parameter, gradient and group of the parameters that have a gradient.

    Raises:
        ValueError: a gradient is sparse.
    """
    for number, group in enumerate(groups):
        for name, parameter in named_parameters(group, number):
            gradient = parameter.grad
            if gradient is None or parameter.numel() == 0:
                continue
            if gradient.layout != torch.strided:
                raise ValueError(
                    f"parameter {name!r} has a gradient of layout {gradient.layout}, of which no momentum is "
                    "kept; make it dense (sparse=False in nn.Embedding)"
                )
            yield name, parameter, gradient, group


def mover_of(
    name: str, parameter: Tensor, gradient: Tensor, state: dict[str, Any], options: Mapping[str, Any]
) -> Mover:
    """Return a mover whose gradient holds the coupled weight decay."""
    values = local_part(parameter)
    local = with_decay(parameter, local_gradient(parameter, gradient), options)
    return Mover(name, parameter, values, local, local_part(state["momentum_buffer"]), state, options)


def with_decay(parameter: Tensor, local: Tensor, options: Mapping[str, Any]) -> Tensor:
    """Add the coupled weight decay to a gradient, where there is any; the gradient itself stays as it is."""
    decay = float(options["coupled_weight_decay"])
    if decay == 0:
        return local
    return torch.add(local, local_part(parameter), alpha=-decay if options["maximize"] else decay)
