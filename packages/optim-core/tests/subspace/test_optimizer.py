"""The seam: another transform joins an optimizer by four members and no line elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_optim_core import SubspaceOptimizer
from graftwork_optim_core.subspace.hosts import AdamWHost
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction

COMMON = {
    "lr": 0.1,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "scale": 1.0,
    "norm_growth_limit": None,
    "state_dtype": "param",
    "maximize": False,
    "foreach": None,
    "capturable": False,
}


@dataclass(frozen=True)
class Columns:
    """Keeps the first columns and forgets the rest."""

    count: int
    column_block: int = 1

    def coarse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], self.count)

    def compress(self, gradient: Tensor) -> Tensor:
        # A NaN that only the forgotten columns hold must show all the same.
        return gradient[:, : self.count] + 0 * gradient.sum(1, keepdim=True)

    def expand(
        self, gradient: Tensor, coarse: Tensor, direction: Direction, correction: BiasCorrection
    ) -> Tensor:
        update = torch.zeros_like(gradient)
        quotient = direction.numerator / direction.denominator
        update[:, : self.count] = quotient * correction.root * correction.mean
        return update


class ColumnsAdamW(SubspaceOptimizer):
    update_host = AdamWHost()

    def transform_of(self, parameter: Tensor, options: Mapping[str, Any]) -> Columns:
        return Columns(options["count"])


@pytest.mark.parametrize("modes", [{}, {"foreach": True}, {"capturable": True}], ids=str)
def test_another_transform_meets_the_host(modes: dict[str, bool]) -> None:
    weight = torch.randn(4, 6, dtype=torch.float64)
    gradients = [torch.randn(4, 6, dtype=torch.float64) for _ in range(5)]
    ours = torch.nn.Parameter(weight.clone())
    theirs = torch.nn.Parameter(weight[:, :2].clone())
    optimizer = ColumnsAdamW([ours], {**COMMON, "count": 2, **modes})
    adam = torch.optim.Adam([theirs], lr=0.1, eps=1e-30)
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient[:, :2].clone()
        optimizer.step()
        adam.step()
    torch.testing.assert_close(ours[:, :2], theirs, rtol=1e-5, atol=1e-6)
    assert torch.equal(ours[:, 2:], weight[:, 2:])
    assert optimizer.state_bytes().total == 2 * 4 * 2 * 8 + 4


def test_a_front_without_a_transform_says_so() -> None:
    class Unfinished(SubspaceOptimizer):
        update_host = AdamWHost()

    with pytest.raises(NotImplementedError, match="Unfinished must define transform_of"):
        Unfinished([torch.nn.Parameter(torch.zeros(2, 2))], dict(COMMON))
