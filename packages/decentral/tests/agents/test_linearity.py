"""Which optimizers move linearly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from graftwork_decentral.agents.linearity import moves_linearly


class Normalized(torch.optim.Optimizer):
    """Moves of one length."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad / parameter.grad.norm()


class Averaged(torch.optim.Optimizer):
    """A running mean of gradients: linear, and no subclass of SGD."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                mean.lerp_(parameter.grad, 0.3)
                parameter -= group["lr"] * (mean + 0.1 * parameter)


class FirstSingularDirection(Averaged):
    """The gradient projected on its leading singular vector: homogeneous, and not additive."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim == 2:
                    leading = torch.linalg.svd(parameter.grad, full_matrices=False)[0][:, :1]
                    parameter.grad = leading @ (leading.T @ parameter.grad)
        super().step()


LINEAR = [
    lambda p: torch.optim.SGD(p, lr=0.1),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    lambda p: torch.optim.ASGD(p, lr=0.1),
    Averaged,
]
OTHERS = [
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Rprop,
    torch.optim.NAdam,
    Normalized,
    FirstSingularDirection,
]


@pytest.mark.parametrize("make", LINEAR)
def test_linear(make: Callable[..., torch.optim.Optimizer]) -> None:
    assert moves_linearly(make(nn.Linear(4, 3).parameters()))


@pytest.mark.parametrize("make", OTHERS)
def test_not_linear(make: Callable[..., torch.optim.Optimizer]) -> None:
    assert not moves_linearly(make(nn.Linear(4, 3).parameters()))


def test_trying_changes_nothing() -> None:
    model = nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    before, generator = [p.clone() for p in model.parameters()], torch.get_rng_state()
    moves_linearly(optimizer)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert not optimizer.state
    assert torch.equal(torch.get_rng_state(), generator)


def test_what_evaluates_the_loss_itself_counts_as_not_linear() -> None:
    optimizer = Averaged(nn.Linear(4, 3).parameters())
    optimizer.closure = "gradient"
    assert not moves_linearly(optimizer)
