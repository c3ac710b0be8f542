"""A module, a loss and a batch as a function of one flat vector ``[parameters]``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

Objective: TypeAlias = Callable[[Tensor], Tensor]
"""From parameters ``[parameters]`` to a scalar."""


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """Where a module's trainable parameters lie in a flat vector.

    Args:
        names: in the module's order; shared parameters once.
        shapes: of each.
        dtypes: of each.

    >>> spec = ParameterSpec.of(nn.Linear(2, 1))
    >>> spec.names, spec.size
    (('weight', 'bias'), 3)
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, model: nn.Module) -> ParameterSpec:
        """Return that of a module.

        Raises:
            ValueError: it has no trainable parameter.
        """
        found = [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
        if not found:
            raise ValueError("model must have a trainable parameter, got none")
        return cls(
            tuple(name for name, _ in found),
            tuple(tensor.shape for _, tensor in found),
            tuple(tensor.dtype for _, tensor in found),
        )

    @property
    def size(self) -> int:
        """Of the vector."""
        return sum(prod(shape) for shape in self.shapes)

    def flatten(self, model: nn.Module) -> Tensor:
        """Return a copy of a module's parameters ``[parameters]``, of the widest of their types."""
        parameters = dict(model.named_parameters())
        return torch.cat([parameters[name].detach().flatten() for name in self.names])

    def stack(self, models: Sequence[nn.Module]) -> Tensor:
        """Return the parameters of agents ``[agents, parameters]``."""
        return torch.stack([self.flatten(model) for model in models])

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Return named parameters of a vector ``[parameters]``, through which gradients flow.

        Raises:
            ValueError: the vector's length is another.
        """
        if vector.shape != (self.size,):
            raise ValueError(f"vector must be [{self.size}], got {list(vector.shape)}")
        pieces = vector.split([prod(shape) for shape in self.shapes])  # type: ignore[no-untyped-call]
        entries = zip(self.names, self.shapes, self.dtypes, pieces, strict=True)
        return {name: piece.view(shape).to(dtype) for name, shape, dtype, piece in entries}


class _Loss(nn.Module):
    """A loss as a module, so that parameters can be put in its model's place."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Any) -> Tensor:
        value = self._loss(self.model, batch)
        scalar: Tensor = value[0] if isinstance(value, tuple) else value
        return scalar


def flat_objective(model: nn.Module, loss: Callable[[nn.Module, Any], Any], batch: Any) -> Objective:
    """Return the loss of a batch as a function of the model's trainable parameters.

    The model itself is never changed. Layers that draw at random or that keep running averages must be in
    evaluation mode, or every call sees another function.

    Args:
        model: whose buffers and frozen parameters are used as they are.
        loss: from model and batch to a scalar, or to a tuple that begins with one.
        batch: handed on.

    Raises:
        ValueError: the model has no trainable parameter.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> objective = flat_objective(model, lambda model, batch: model(batch).square().mean(), torch.ones(4, 1))
    >>> objective(torch.tensor([3.0]))
    tensor(9.)
    """
    spec, whole = ParameterSpec.of(model), _Loss(model, loss)

    def objective(parameters: Tensor) -> Tensor:
        named = {f"model.{name}": tensor for name, tensor in spec.unflatten(parameters).items()}
        value: Tensor = functional_call(whole, named, (batch,))
        return value

    return objective
