"""The reference problem solved by any variant: deterministic, on a lazy ring of ten agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from graftwork_decentral.bilevel.quadratic import Quadratic
from graftwork_decentral.bilevel.sparkle import Sparkle
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.strategies import (
    Strategy,
    consensus,
    diffusion,
    exact_diffusion,
    extra,
    gt_atc,
    gt_non_atc,
    gt_semi_atc,
)
from graftwork_decentral.topology import ring

STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "ed": exact_diffusion,
    "extra": extra,
    "gt-semi": gt_semi_atc,
    "gt-atc": gt_atc,
    "gt-non": gt_non_atc,
    "diffusion": diffusion,
    "consensus": consensus,
}


@pytest.fixture(scope="session")
def problem() -> Quadratic:
    return Quadratic()


@pytest.fixture(scope="session")
def make(problem: Quadratic) -> Callable[..., Sparkle]:
    """Build a variant by the names of its strategies; ``times`` multiplies the steps."""

    def made(
        lower: str, auxiliary: str = "", upper: str = "", *, times: float = 1, **options: Any
    ) -> Sparkle:
        names = (lower, auxiliary or lower, upper or lower)
        settings: dict[str, Any] = {
            "alpha": 0.02 * times,
            "beta": 0.05 * times,
            "gamma": 0.05 * times,
            "theta": 0.3,
            "dtype": torch.float64,
        }
        settings.update(options)
        of_problem = settings.pop("problem", problem)
        graphs = settings.pop("graphs", None) or ring(of_problem.agents, lazy=True)
        levels = zip(("lower", "auxiliary", "upper"), names, strict=True)
        chosen = {level: STRATEGIES[name]() for level, name in levels}
        return Sparkle(of_problem, StackedCommunicator(graphs), **{**chosen, **settings})

    return made


@pytest.fixture(scope="session")
def solve(problem: Quadratic, make: Callable[..., Sparkle]) -> Callable[..., Sparkle]:
    def solved(*names: str, steps: int = 2000, **options: Any) -> Sparkle:
        method = make(*names, **options)
        data = options.get("problem", problem).data()
        for _ in range(steps):
            method.step(data)
        return method

    return solved
