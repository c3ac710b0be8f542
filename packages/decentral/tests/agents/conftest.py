"""Agents with quadratics of their own, whose minimizers differ; the minimizer of their mean is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from graftwork_decentral import AgentBank, DecentralizedOptimizer, StackedCommunicator, Strategy, ring

AGENTS, SIZE = 6, 5


class Point(nn.Module):
    """Two parameters that make one vector, so that rows are padded between them."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.head = nn.Parameter(torch.zeros(2, dtype=dtype))
        self.tail = nn.Parameter(torch.zeros(SIZE - 2, dtype=dtype))

    def forward(self) -> Tensor:
        return torch.cat([self.head, self.tail])


@dataclass
class Quadratics:
    hessians: Tensor
    linear: Tensor

    @property
    def minimizer(self) -> Tensor:
        return torch.linalg.solve(self.hessians.mean(0), self.linear.mean(0))

    def loss(self, agent: int, point: Tensor) -> Tensor:
        hessian, linear = self.hessians[agent].to(point), self.linear[agent].to(point)
        return 0.5 * point @ hessian @ point - linear @ point

    def backward(self, bank: AgentBank) -> None:
        for agent, model in enumerate(bank.models):
            self.loss(agent, model()).backward()

    def error(self, bank: AgentBank) -> float:
        """``sum_i ||x_i - x*||^2``."""
        points = torch.stack([model().detach().double() for model in bank.models])
        return float((points - self.minimizer).square().sum())


@pytest.fixture
def quadratics() -> Quadratics:
    generator = torch.Generator().manual_seed(7)
    factors = torch.randn(AGENTS, SIZE, SIZE, generator=generator, dtype=torch.float64)
    hessians = factors @ factors.mT / SIZE / 4 + 0.5 * torch.eye(SIZE, dtype=torch.float64)
    return Quadratics(hessians, torch.randn(AGENTS, SIZE, generator=generator, dtype=torch.float64))


Build = Callable[..., tuple[AgentBank, DecentralizedOptimizer]]


@pytest.fixture
def build() -> Build:
    """A bank of points and an optimizer over it, on a lazy ring."""

    def make(
        strategy: Strategy,
        inner: Callable[..., torch.optim.Optimizer] = lambda model: torch.optim.SGD(
            model.parameters(), lr=0.1
        ),
        dtype: torch.dtype = torch.float64,
        agents: int = AGENTS,
        unsuited: str = "refuse",
    ) -> tuple[AgentBank, DecentralizedOptimizer]:
        bank = AgentBank([Point(dtype) for _ in range(agents)])
        communicator = StackedCommunicator(ring(agents, lazy=True))
        return bank, DecentralizedOptimizer(bank, inner, strategy, communicator, unsuited=unsuited)

    return make


@pytest.fixture
def run(quadratics: Quadratics) -> Callable[..., float]:
    """Take steps and return the squared error."""

    def take(bank: AgentBank, optimizer: DecentralizedOptimizer, steps: int) -> float:
        for _ in range(steps):
            optimizer.zero_grad()
            quadratics.backward(bank)
            optimizer.step()
        return quadratics.error(bank)

    return take
