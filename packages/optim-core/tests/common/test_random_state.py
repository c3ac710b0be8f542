"""The generators of the caller: left alone, and the same at every evaluation of a step."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graftwork_optim_core.common.random_state import RandomState
from graftwork_optim_core.lozo import LOZO
from graftwork_optim_core.mezo import MeZO

MAKERS: dict[str, Any] = {
    **{
        backend: lambda params, backend=backend: LOZO(
            params, interval=2, momentum=0.5, probes=2, backend=backend
        )
        for backend in ("inplace", "sidepath", "dual")
    },
    "mezo": MeZO,
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def states() -> tuple[bytes, bytes, str]:
    numbers = numpy.random.get_state()
    return (
        torch.get_rng_state().numpy().tobytes(),
        numbers[1].tobytes(),
        str((numbers[2:], random.getstate())),
    )


@every
def test_9_no_global_generator_is_touched(make: Any) -> None:
    model = nn.Sequential(nn.Linear(24, 16), nn.LayerNorm(16), nn.Linear(16, 300, bias=False))
    inputs = torch.randn(4, 24)
    before = states()
    optimizer = make(model.named_parameters())
    optimizer.attach(model)
    for _ in range(5):
        optimizer.step(lambda: model(inputs).square().mean())
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.eval()
    optimizer.train()
    optimizer.merge()
    assert states() == before


@every
def test_9_dropout_is_the_same_at_both_ends_and_another_in_every_step(make: Any) -> None:
    layer = nn.Linear(24, 16)
    masks: list[Tensor] = []

    def closure() -> Tensor:
        masks.append(F.dropout(torch.ones(64), 0.5))
        return layer(torch.ones(2, 24)).square().mean() * masks[-1].mean()

    optimizer = make(layer.named_parameters())
    optimizer.attach(layer)
    ends = []
    for _ in range(3):
        masks.clear()
        optimizer.step(closure)
        assert len(masks) >= 2
        assert all(torch.equal(mask, masks[0]) for mask in masks)
        ends.append(masks[0])
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[1], ends[2])


@pytest.mark.parametrize("backend", ["inplace", "sidepath", "dual"])
@pytest.mark.filterwarnings("ignore:the two ends of a step")
def test_a_dropout_model_has_a_slope_of_moderate_size(backend: Any) -> None:
    """With other masks at the two ends the slope would be a difference of losses over 2 eps: hundreds."""
    model = nn.Sequential(nn.Linear(24, 64), nn.Dropout(0.5), nn.Linear(64, 16)).double()
    inputs = torch.randn(4, 24).double()
    start = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = LOZO(model.named_parameters(), lr=1e-4, eps=1e-5, backend=backend)
    optimizer.attach(model)
    for _ in range(5):
        optimizer.step(lambda: model(inputs).square().mean())
    optimizer.merge()
    moved = sum(float((p - s).norm()) for p, s in zip(model.parameters(), start, strict=True))
    assert 0 < moved < 0.5


def test_a_step_leaves_the_generator_where_one_pass_of_the_closure_leaves_it() -> None:
    layer = nn.Linear(24, 16)

    def closure() -> Tensor:
        return layer(torch.randn(2, 24)).square().mean()

    optimizer = LOZO(layer.named_parameters(), probes=3)
    torch.manual_seed(4)
    closure()
    expected = torch.get_rng_state()
    torch.manual_seed(4)
    optimizer.step(closure)
    assert torch.equal(torch.get_rng_state(), expected)


def test_states_compare_by_what_they_hold() -> None:
    device = torch.device("cpu")
    first = RandomState.capture(device)
    assert first == RandomState.capture(device)
    torch.rand(1)
    assert first != RandomState.capture(device)
    first.restore()
    assert first == RandomState.capture(device)
    assert first != "a state"
    assert RandomState(first.cpu, device, first.cpu) != first
    assert RandomState(first.cpu, device, first.cpu) == RandomState(first.cpu, device, first.cpu.clone())
    with pytest.raises(TypeError, match="unhashable"):
        hash(first)
