"""A module as a function of a flat vector."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork_decentral.flatness.metrics import ParameterSpec, flat_objective, gradient


class Tied(nn.Module):
    """A weight used twice, a frozen one and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=True)
        self.second.weight = self.first.weight
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("shift", torch.full((3,), 0.5))

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.second(self.first(inputs) * self.frozen + self.shift)
        return output


def mean_square(model: nn.Module, batch: Any) -> Tensor:
    value: Tensor = model(batch).square().mean()
    return value


def test_flat_and_back() -> None:
    model = Tied()
    spec = ParameterSpec.of(model)
    assert spec.names == ("first.weight", "second.bias")
    vector = spec.flatten(model)
    assert vector.shape == (spec.size,) == (12,)
    for name, tensor in spec.unflatten(vector).items():
        assert torch.equal(tensor, model.get_parameter(name))
    assert torch.equal(spec.stack([model, model]), torch.stack([vector, vector]))


def test_the_objective_is_the_loss_and_its_gradient_and_leaves_the_model_alone() -> None:
    model, batch = Tied(), torch.randn(5, 3)
    spec = ParameterSpec.of(model)
    objective = flat_objective(model, mean_square, batch)
    vector = spec.flatten(model)
    loss = mean_square(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    expected = torch.cat([model.get_parameter(name).grad.flatten() for name in spec.names])  # type: ignore[union-attr]
    assert objective(vector).item() == pytest.approx(loss.item())
    torch.testing.assert_close(gradient(objective, vector), expected)
    assert float(objective(vector * 2)) != pytest.approx(loss.item())
    assert torch.equal(spec.flatten(model), vector)


def test_a_loss_may_come_with_more_than_the_scalar() -> None:
    objective = flat_objective(
        nn.Linear(1, 1), lambda model, batch: (mean_square(model, batch), {}), torch.ones(1, 1)
    )
    assert float(objective(torch.tensor([1.0, 1.0]))) == 4.0


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="model must have a trainable parameter, got none"):
        ParameterSpec.of(nn.ReLU())
    with pytest.raises(ValueError, match=r"vector must be \[2\], got \[3\]"):
        ParameterSpec.of(nn.Linear(1, 1)).unflatten(torch.zeros(3))
