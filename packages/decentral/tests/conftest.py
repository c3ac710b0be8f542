"""One thread a test run, as two cores are shared by everything; and quadratics of agents that differ."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork.testing import heed_signals
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.strategies import Strategy


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have packages be missing, whether they are installed or not."""

    def hidden(*packages: str) -> None:
        for package in packages:
            for module in [one for one in sys.modules if one == package or one.startswith(f"{package}.")]:
                monkeypatch.delitem(sys.modules, module)
            monkeypatch.setitem(sys.modules, package, None)

    return hidden


def pytest_configure() -> None:
    torch.set_num_threads(1)
    heed_signals()


@dataclass(frozen=True)
class Quadratics:
    """``0.5 x'Q_i x - b_i'x`` for every agent."""

    curvatures: Tensor
    pulls: Tensor

    @property
    def minimizer(self) -> Tensor:
        """Of their mean."""
        return torch.linalg.solve(self.curvatures.sum(0), self.pulls.sum(0))

    def run(
        self,
        strategy: Strategy,
        communicator: Any,
        steps: int,
        *,
        step_size: Callable[[int], float] | float = 0.1,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """Return the points of all agents, ``[agents, size]``."""
        point = torch.zeros_like(self.pulls, dtype=dtype)
        curvatures, pulls = self.curvatures.to(dtype), self.pulls.to(dtype)
        form = strategy.start(point)
        for step in range(steps):
            exchange = communicator.at(step)
            size = step_size(step) if callable(step_size) else step_size
            gradient = (curvatures @ point[..., None])[..., 0] - pulls
            direction = form.prepare(size * gradient, exchange)
            point = form.combine(point, point - direction, exchange).to(dtype)
        return point

    def error(self, strategy: Strategy, graphs: Any, steps: int, **options: Any) -> float:
        """Return the squared distance of all agents from the minimizer."""
        communicator = StackedCommunicator(graphs, path=options.pop("path", "differences"))
        point = self.run(strategy, communicator, steps, **options)
        return float((point.double() - self.minimizer).square().sum())


def quadratics(agents: int, size: int = 5) -> Quadratics:
    generator = torch.Generator().manual_seed(1)
    roots = torch.randn(agents, size, size, generator=generator, dtype=torch.float64) / size**0.5
    return Quadratics(
        torch.eye(size, dtype=torch.float64) + 0.3 * roots @ roots.mT,
        2 * torch.randn(agents, size, generator=generator, dtype=torch.float64),
    )


@pytest.fixture(scope="session")
def problem() -> Quadratics:
    """Ten agents, five numbers."""
    return quadratics(10)


@pytest.fixture(scope="session")
def problem_of_sixteen() -> Quadratics:
    """Sixteen agents, five numbers."""
    return quadratics(16)
