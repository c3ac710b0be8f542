"""Every registered optimizer over a model, as a trainer makes it: default selection and weight decay."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork import Kind, choose, get_registry

NAMES = [entry.component.name for entry in get_registry().entries(Kind.OPTIMIZER)]
RATE, DECAY, STEPS = 1e-2, 0.1, 6
every = pytest.mark.parametrize("name", NAMES)


def perceptron() -> nn.Sequential:
    """A model without any of the names that the published rule selects by."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))


def normed() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(9, 16), nn.Linear(16, 24), nn.LayerNorm(24), nn.Linear(24, 16), nn.Linear(16, 4)
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def made(name: str, model: nn.Module, **options: Any) -> Any:
    return choose(Kind.OPTIMIZER, name, options).for_model(model, total_steps=STEPS)


def take_step(optimizer: Any, loss: Callable[[], Tensor]) -> None:
    """Make a step in the way that the optimizer's ``closure`` asks for."""

    def with_gradients() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    kind = getattr(optimizer, "closure", None)
    if kind is None:
        with_gradients()
        optimizer.step()
    else:
        optimizer.step(loss if kind == "loss" else with_gradients)
    # What lies beside the weights, where it does.
    getattr(optimizer, "merge", lambda: None)()


def loss_of(model: nn.Module, inputs: Tensor) -> Tensor:
    output: Tensor = model(inputs)
    return (output - 1).square().mean()


def images(step: int) -> Tensor:
    return torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(step))


@every
def test_default_options_train_a_perceptron_without_expected_names(name: str) -> None:
    model = perceptron()
    optimizer = made(name, model)
    before = copy.deepcopy(model.state_dict())
    for step in range(STEPS):
        take_step(optimizer, partial(loss_of, model, images(step)))
    after = model.state_dict()
    assert all(bool(value.isfinite().all()) for value in after.values())
    assert [key for key, value in after.items() if torch.equal(value, before[key])] == []


@every
def test_matrices_decay_and_biases_and_norms_stay_to_the_bit(name: str) -> None:
    before = normed().state_dict()
    after = []
    for decay in (0.0, DECAY):
        model = normed()
        optimizer = made(name, model, lr=RATE, weight_decay=decay)
        trained = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
        assert sorted(trained) == sorted(map(id, model.parameters()))
        # No gradient and no slope: what moves is moved by decay.
        take_step(optimizer, lambda model=model: 0.0 * model(torch.arange(9)).sum())
        after.append(model.state_dict())
    for key, spared in after[0].items():
        if spared.ndim > 1:
            torch.testing.assert_close(after[1][key], before[key] * (1 - RATE * DECAY), rtol=1e-5, atol=1e-6)
            assert not torch.equal(after[1][key], spared), key
        else:
            # Perturbed in place and restored, as MeZO does it, they differ from before by a rounding.
            assert torch.equal(after[1][key], spared), key
            torch.testing.assert_close(spared, before[key], rtol=1e-6, atol=1e-6)


@every
def test_a_run_over_split_groups_is_resumed_to_the_bit(name: str) -> None:
    def batch(step: int) -> Tensor:
        return torch.randint(0, 9, (5,), generator=torch.Generator().manual_seed(step))

    model = normed()
    optimizer = made(name, model, lr=RATE, weight_decay=DECAY)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, DECAY}
    buffer = io.BytesIO()
    for step in range(STEPS):
        if step == 3:
            torch.save((model.state_dict(), optimizer.state_dict()), buffer)
        take_step(optimizer, partial(loss_of, model, batch(step)))
    buffer.seek(0)
    weights, state = torch.load(buffer, weights_only=True)
    resumed = normed()
    resumed.load_state_dict(weights)
    later = made(name, resumed, lr=RATE, weight_decay=DECAY)
    later.load_state_dict(state)
    for step in range(3, STEPS):
        take_step(later, partial(loss_of, resumed, batch(step)))
    assert all(
        torch.equal(one, two) for one, two in zip(resumed.parameters(), model.parameters(), strict=True)
    )


@every
def test_state_of_split_groups_is_predicted_and_shown(name: str) -> None:
    optimizer = made(name, normed(), weight_decay=DECAY)
    if not hasattr(optimizer, "state_bytes"):
        pytest.skip("an optimizer of torch's")
    assert len(optimizer.state_bytes().by_group) == len(optimizer.param_groups)
    if hasattr(optimizer, "predicted_state_bytes"):
        predicted = [
            sum(optimizer.predicted_state_bytes(parameter, group) for parameter in group["params"])
            for group in optimizer.param_groups
        ]
        assert list(optimizer.state_bytes().by_group) == predicted
    shown = re.findall(r"^ +weight_decay: (.*)$", repr(optimizer), re.MULTILINE)
    assert shown == [str(group["weight_decay"]) for group in optimizer.param_groups]
    assert set(shown) == {"0.1", "0.0"}
