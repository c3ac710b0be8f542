"""A torch model as a function of one flat vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call


class FlatModel:
    """Calls a model with parameters cut from a vector ``[size]``, in the order of ``parameters()``.

    Args:
        model: its parameters' values are not used; its buffers are.

    >>> flat = FlatModel(nn.Linear(3, 2))
    >>> flat.size, flat(torch.zeros(8), torch.ones(5, 3)).shape
    (8, torch.Size([5, 2]))
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self.size = sum(self._sizes)

    def __call__(self, vector: Tensor, *inputs: Tensor) -> Tensor:
        output: Tensor = functional_call(self.model, self.parameters_of(vector), inputs)
        return output

    def parameters_of(self, vector: Tensor) -> dict[str, Tensor]:
        """Cut a vector into parameters by name."""
        parts = torch.split(vector, self._sizes)
        return {
            name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def vector(self) -> Tensor:
        """Return the model's own parameters as one vector."""
        return torch.cat([parameter.detach().flatten() for parameter in self.model.parameters()])
