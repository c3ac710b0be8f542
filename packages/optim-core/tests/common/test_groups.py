"""Groups as users change them by hand, and what saving does not change."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr

import numpy as np
import pytest
import torch
from torch import nn

from graftwork_optim_core import NSGDC, GaLoreAdamW, GWTAdamW, TwoRateAdamW

MAKERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "gwt": lambda groups: GWTAdamW(groups, lr=0.1),
    "galore": lambda groups: GaLoreAdamW(groups, lr=0.1, rank=2),
    "two-rate": lambda groups: TwoRateAdamW(groups, lr=0.1),
    "nsgdc": lambda groups: NSGDC(groups, lr=0.1),
}


def weights(count: int = 3) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(8, 8, generator=generator)) for _ in range(count)]


def steps(optimizer: torch.optim.Optimizer, made: list[nn.Parameter], count: int = 2) -> None:
    for number in range(count):
        for weight in made:
            weight.grad = torch.full_like(weight, 0.1 + number) + torch.eye(8, dtype=weight.dtype)
        optimizer.step()


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., torch.optim.Optimizer]:
    def quiet(groups: list[dict[str, object]]) -> torch.optim.Optimizer:
        with redirect_stderr(io.StringIO()):
            return MAKERS[request.param](groups)

    return quiet


def test_saving_while_weights_are_cast_changes_no_state(make: Callable[..., torch.optim.Optimizer]) -> None:
    (weight,) = made = weights(1)
    optimizer = make([{"params": made}])
    steps(optimizer, made)
    kept = {key: value.clone() for key, value in optimizer.state[weight].items() if torch.is_tensor(value)}
    whole = weight.data
    for dtype in (torch.bfloat16, torch.float16):
        weight.data = whole.to(dtype)
        optimizer.state_dict()
        weight.data = whole
    for key, value in kept.items():
        assert value.dtype == optimizer.state[weight][key].dtype
        assert torch.equal(value, optimizer.state[weight][key])


@pytest.mark.parametrize(("key", "value"), [("layer_id", 3), ("weight_decay", -1.0)])
def test_what_a_step_refuses_is_saved(
    make: Callable[..., torch.optim.Optimizer], key: str, value: float
) -> None:
    optimizer = make([{"params": weights(1)}])
    optimizer.param_groups[0][key] = value
    assert optimizer.state_dict()["param_groups"][0][key] == value
    with pytest.raises(ValueError, match=key):
        steps(optimizer, optimizer.param_groups[0]["params"])


def test_groups_may_be_taken_out_and_put_in_by_hand(make: Callable[..., torch.optim.Optimizer]) -> None:
    first, second, third = weights()
    optimizer = make([{"params": [first]}, {"params": [second]}, {"params": [third]}])
    steps(optimizer, [first, second, third])
    still = first.detach().clone()
    taken, *left = optimizer.param_groups
    optimizer.param_groups[:] = left
    steps(optimizer, [first, second, third])
    assert torch.equal(still, first)
    optimizer.param_groups.append(taken)
    steps(optimizer, [first, second, third])
    assert not torch.equal(still, first)


def test_arrays_in_groups_are_values_like_others(make: Callable[..., torch.optim.Optimizer]) -> None:
    made = weights(1)
    optimizer = make([{"params": made}])
    for number in range(2):
        optimizer.param_groups[0]["_mask"] = np.full(3, number)
        steps(optimizer, made, 1)
    assert made[0].isfinite().all()


def test_a_rate_that_schedulers_set_is_checked(make: Callable[..., torch.optim.Optimizer]) -> None:
    made = weights(1)
    optimizer = make([{"params": made}])
    optimizer.param_groups[0]["lr"] = 0.0
    before = made[0].detach().clone()
    steps(optimizer, made, 1)
    assert torch.equal(before, made[0])
    optimizer.param_groups[0]["lr"] = -0.1
    with pytest.raises(ValueError, match="lr must be"):
        steps(optimizer, made, 1)
