"""A-NSGDC: gradients ahead of the iterate, and the way between the two points."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core.normalized.accelerated import ANSGDC

WAYS = pytest.mark.parametrize(
    "way", [{}, {"fused": False}, {"foreach": True}, {"capturable": True}], ids=str
)


@WAYS
def test_3_two_steps_by_hand(way: dict[str, Any]) -> None:
    weight = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    optimizer = ANSGDC([weight], lr=1.0, momentum=0.5, **way)
    weight.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    optimizer.step()
    assert weight.tolist() == pytest.approx([1.8, 2.4], abs=1e-12)
    optimizer.eval()
    assert weight.tolist() == pytest.approx([2.4, 3.2], abs=1e-12)
    optimizer.train()
    weight.grad = torch.tensor([0.0, 10.0], dtype=torch.float64)
    optimizer.step()
    optimizer.eval()
    assert weight.tolist() == pytest.approx([2.190471, 2.222198], abs=5e-7)


@WAYS
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_8_on_a_quadratic_the_momentum_is_the_gradient_at_the_iterate(
    way: dict[str, Any], momentum: float
) -> None:
    torch.manual_seed(0)
    root = torch.randn(5, 5, dtype=torch.float64)
    hessian, centre = root @ root.T / 5, torch.randn(5, dtype=torch.float64)
    weight = nn.Parameter(torch.randn(5, dtype=torch.float64))
    optimizer = ANSGDC([weight], lr=0.1, momentum=momentum, **way)
    for _ in range(30):
        optimizer.eval()
        iterate = weight.detach().clone()
        optimizer.train()
        weight.grad = hessian @ (weight.detach() - centre)
        optimizer.step()
        expected = hessian @ (iterate - centre)
        torch.testing.assert_close(optimizer.state[weight]["momentum_buffer"], expected, rtol=0, atol=1e-10)


@WAYS
def test_the_iterate_is_that_of_the_equations_while_rates_change(way: dict[str, Any]) -> None:
    """The look ahead has the learning rate and momentum of the step before; decay is of the iterate."""
    torch.manual_seed(1)
    weight = nn.Parameter(torch.randn(6, dtype=torch.float64))
    optimizer = ANSGDC([weight], lr=0.1, momentum=0.9, weight_decay=0.3, clip=1.5, **way)
    iterate, ahead = weight.detach().clone(), torch.zeros(6, dtype=torch.float64)
    mean = torch.zeros(6, dtype=torch.float64)
    for step in range(20):
        rate, momentum = 0.3 / (step + 1), 0.5 + 0.02 * step
        optimizer.param_groups[0].update(lr=rate, momentum=momentum)
        torch.testing.assert_close(weight.detach(), iterate + ahead, rtol=0, atol=1e-12)
        gradient = torch.sin(3 * (iterate + ahead)) + torch.randn(6, dtype=torch.float64)
        weight.grad = gradient.clone()
        optimizer.step()
        gradient *= min(1.0, 1.5 / float(gradient.norm()))
        mean = gradient if step == 0 else momentum * mean + (1 - momentum) * gradient
        move = -rate * mean / mean.norm()
        iterate = (1 - 0.3 * rate) * iterate + move
        ahead = momentum / (1 - momentum) * move


def trained(dtype: torch.dtype = torch.float32, steps: int = 7) -> tuple[list[nn.Parameter], ANSGDC]:
    torch.manual_seed(2)
    parameters = [nn.Parameter(torch.randn(9, 5).to(dtype)), nn.Parameter(torch.randn(4).to(dtype))]
    optimizer = ANSGDC(parameters, lr=0.3)
    advance(parameters, optimizer, 0, steps)
    return parameters, optimizer


def advance(parameters: list[nn.Parameter], optimizer: ANSGDC, first: int, last: int) -> None:
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
        optimizer.step()


def values(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_way_to_the_iterate_and_back_is_exact_and_may_be_asked_for_twice(dtype: torch.dtype) -> None:
    parameters, optimizer = trained(dtype)
    training = values(parameters)
    optimizer.train()
    assert all(map(torch.equal, training, values(parameters)))
    optimizer.eval()
    evaluating = values(parameters)
    optimizer.eval()
    assert all(map(torch.equal, evaluating, values(parameters)))
    assert not torch.equal(training[0], evaluating[0])
    assert optimizer.evaluating
    optimizer.train()
    optimizer.train()
    assert all(map(torch.equal, training, values(parameters)))
    assert not optimizer.evaluating


def test_evaluation_between_steps_changes_nothing() -> None:
    one, plain = trained(steps=0)
    two, watched = trained(steps=0)
    for step in range(6):
        advance(one, plain, step, step + 1)
        advance(two, watched, step, step + 1)
        watched.eval()
        watched.train()
    assert all(map(torch.equal, values(one), values(two)))
    assert plain.state_bytes().total == watched.state_bytes().total


def test_a_step_while_evaluating_is_refused() -> None:
    _, optimizer = trained()
    optimizer.eval()
    with pytest.raises(RuntimeError, match=r"call ANSGDC\.train\(\) before step\(\); eval\(\) was called"):
        optimizer.step()


def test_a_state_dict_knows_the_mode() -> None:
    parameters, optimizer = trained()
    training = values(parameters)
    optimizer.eval()
    saved, weights = copy.deepcopy(optimizer.state_dict()), values(parameters)
    others = [nn.Parameter(weight.clone()) for weight in weights]
    resumed = ANSGDC(others, lr=9.0)
    resumed.load_state_dict(saved)
    assert resumed.evaluating
    resumed.train()
    assert not resumed.evaluating
    for ours, theirs in zip(values(others), training, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    # What was loaded for training forgets that this one was evaluating.
    optimizer.train()
    saved = copy.deepcopy(optimizer.state_dict())
    resumed.eval()
    for other, weight in zip(others, training, strict=True):
        other.detach().copy_(weight)
    resumed.load_state_dict(saved)
    assert not resumed.evaluating
    resumed.train()
    assert all(map(torch.equal, training, values(others)))


def test_a_copy_made_while_evaluating_finds_its_own_way_back() -> None:
    parameters, optimizer = trained()
    training = values(parameters)
    optimizer.eval()
    model = nn.ParameterList(parameters)
    both = copy.deepcopy({"model": model, "optimizer": optimizer})
    both["optimizer"].train()
    assert all(map(torch.equal, training, values(list(both["model"]))))
    assert not torch.equal(parameters[0], training[0])


def test_a_group_added_while_evaluating_joins_in() -> None:
    parameters, optimizer = trained()
    optimizer.eval()
    late = nn.Parameter(torch.ones(3))
    optimizer.add_param_group({"params": [late]})
    optimizer.train()
    assert torch.equal(late, torch.ones(3))
    advance([*parameters, late], optimizer, 7, 9)
    assert not torch.equal(late, torch.ones(3))


@WAYS
def test_a_gradient_that_is_not_finite_stops_the_whole_step(way: dict[str, Any]) -> None:
    torch.manual_seed(3)
    weight = nn.Parameter(torch.randn(4))
    optimizer = ANSGDC([weight], lr=0.1, weight_decay=0.2, **way)
    for bad in (False, False, True, False):
        weight.grad = torch.randn(4)
        before = weight.detach().clone(), copy.deepcopy(optimizer.state[weight])
        if bad:
            weight.grad[1] = torch.inf
        optimizer.step()
        if bad:
            assert torch.equal(weight, before[0])
            state = optimizer.state[weight]
            assert all(torch.equal(value, before[1][name]) for name, value in state.items())
    assert optimizer.nonfinite_skips() == 1
    assert float(optimizer.state[weight]["step"]) == 3
