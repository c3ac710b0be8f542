"""Tests of options of zeroth-order optimizers that change between steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core import LOZO
from graftwork_optim_core.zeroth_order.replay import read_log


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(12, 10)


def take(model: nn.Linear, optimizer: Any, steps: int) -> None:
    inputs = torch.randn(4, 12, generator=torch.Generator().manual_seed(1))

    def loss() -> Tensor:
        return model(inputs).square().mean()

    for _ in range(steps):
        optimizer.step(loss)


@pytest.mark.parametrize("backend", ["inplace", "sidepath"])
def test_the_scale_of_movement_changes_with_its_option(backend: str) -> None:
    # "reference" leaves out the division by the rank, which is twice the rate for matrices.
    finals = []
    for scale, lr in (("reference", 1e-2), ("paper", 2e-2)):
        model = layer()
        optimizer = LOZO([{"params": [model.weight]}], lr=1e-2, rank=2, backend=backend)
        take(model, optimizer, 1)
        optimizer.param_groups[0].update(scale=scale, lr=lr)
        take(model, optimizer, 2)
        optimizer.merge()
        finals.append(model.weight.detach().clone())
    torch.testing.assert_close(*finals, rtol=1e-5, atol=1e-6)


def test_a_log_refuses_changes_that_it_cannot_record_and_takes_those_before_the_first_step(
    tmp_path: Path,
) -> None:
    model = layer()
    optimizer = LOZO(model.named_parameters(), lr=1e-2, rank=2, log_file=tmp_path / "run.log")
    optimizer.param_groups[0]["momentum"] = 0.5
    take(model, optimizer, 3)
    optimizer.param_groups[0]["lr"] = 5e-3
    take(model, optimizer, 2)
    optimizer.merge()
    optimizer.log.flush()
    again = layer()
    read_log(tmp_path / "run.log").replay(again)
    assert torch.equal(again.weight, model.weight)
    optimizer.param_groups[0]["momentum"] = 0.9
    with pytest.raises(
        ValueError, match=r"momentum must stay what it was at the first step: log_file .*run\.log"
    ):
        take(model, optimizer, 1)
