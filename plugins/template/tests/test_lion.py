"""Lion keeps the contract of an optimizer. These tests need neither a trainer nor another plugin."""

from __future__ import annotations

import doctest
import io
import subprocess
import sys
import tomllib
from importlib import import_module
from typing import Any

import pytest
import torch
from graftwork_plugin_template import Lion
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

from graftwork import Kind, get_registry
from graftwork.recipe import recipe_path
from graftwork.schema import schema_of


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def loss_of(model: nn.Module, step: int) -> Tensor:
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    return nn.functional.mse_loss(model(inputs), torch.sin(inputs[:, :2]))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def stepped(gradients: list[list[float]], **options: Any) -> list[list[float]]:
    """The weights after each step of lr 0.1 from [1, -2, 0.5]."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    optimizer = Lion([weight], **{"lr": 0.1, **options})
    seen = []
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        seen.append(weight.tolist())
    return seen


GRADIENTS = [[0.5, -1.0, 0.0], [-0.04, 1.0, 1.0]]


def test_algorithm_2_update_matches_the_one_computed_by_hand() -> None:
    first, second = stepped(GRADIENTS, betas=(0.9, 0.99), weight_decay=0.1)
    # c has the gradient's signs: + - 0.
    # 1 - 0.1 * (1 + 0.1 * 1), -2 - 0.1 * (-1 - 0.1 * 2), 0.5 - 0.1 * (0 + 0.1 * 0.5)
    assert first == pytest.approx([0.89, -1.88, 0.495], rel=1e-12)
    # m = 0.01 * g = [0.005, -0.01, 0], so c = [0.9 * 0.005 - 0.004, -0.009 + 0.1, 0.1]: the momentum outvotes
    # the first gradient, and all signs are +.
    # 0.89 - 0.1 * (1 + 0.089), -1.88 - 0.1 * (1 - 0.188), 0.495 - 0.1 * (1 + 0.0495)
    assert second == pytest.approx([0.7811, -1.9612, 0.39005], rel=1e-12)


def test_maximize_climbs_exactly_as_it_would_descend() -> None:
    upside_down = [[-value for value in gradient] for gradient in GRADIENTS]
    assert stepped(upside_down, maximize=True) == stepped(GRADIENTS)


@pytest.mark.parametrize("shape", [(), (1,)], ids=["scalar", "one element"])
def test_a_learning_rate_in_a_tensor_is_read_at_every_step(shape: tuple[int, ...]) -> None:
    lr = torch.full(shape, 0.25, dtype=torch.float64)
    weights = [nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.ones(2, 3))]
    optimizer = Lion(weights, lr=lr)
    for factor in (1.0, 2.0):
        optimizer.param_groups[0]["lr"].fill_(0.25 * factor)
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert all(torch.equal(weight, torch.full_like(weight, 0.25)) for weight in weights)


def test_it_trains() -> None:
    model = network()
    before = loss_of(model, 0).item()
    train(model, Lion(model.parameters(), lr=1e-2, weight_decay=0.1), 0, 100)
    assert loss_of(model, 0).item() < 0.5 * before


@pytest.mark.parametrize("at", [0, 1, 7])
def test_resumed_training_equals_uninterrupted_training(at: int) -> None:
    whole = network()
    optimizer = Lion(whole.parameters(), lr=1e-2, weight_decay=0.1)
    train(whole, optimizer, 0, at)
    resumed = network()
    resumed.load_state_dict(whole.state_dict())
    saved = through_a_file(optimizer.state_dict())
    train(whole, optimizer, at, 12)
    later = Lion(resumed.parameters())
    later.load_state_dict(saved)
    train(resumed, later, at, 12)
    assert same(resumed, whole)


def test_taking_a_state_dict_of_a_fresh_optimizer_takes_no_step() -> None:
    model, untouched = network(), network()
    optimizer = Lion(model.parameters(), lr=1e-2, weight_decay=0.1)
    state = get_optimizer_state_dict(model, optimizer)
    assert same(model, untouched)
    assert len(state["state"]) == 4
    assert all(not values["momentum"].any() for values in optimizer.state_dict()["state"].values())


def test_a_weight_without_gradient_stays() -> None:
    model, untouched = network(), network()
    optimizer = Lion(model.parameters(), lr=1e-2, weight_decay=0.1)
    model[0].requires_grad_(False)
    train(model, optimizer, 0, 2)
    assert same(model[0], untouched[0])
    assert not same(model[2], untouched[2])


def test_a_closure_runs_once_with_gradients() -> None:
    model, untouched = network(), network()
    optimizer = Lion(model.parameters(), lr=1e-2)
    losses: list[float] = []

    def closure() -> float:
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        losses.append(loss.item())
        return losses[-1]

    assert [optimizer.step(closure)] == losses
    assert not same(model, untouched)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, r"lr must be 0 or more, got -0\.1"),
        ({"lr": float("nan")}, "lr must be 0 or more, got nan"),
        ({"lr": torch.ones(2)}, r"lr must be a number or a tensor of one element, got shape \(2,\)"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\), got \(0\.9, 1\.0\)"),
        ({"betas": (0.9,)}, r"betas must be two numbers in \[0, 1\), got \(0\.9,\)"),
        ({"weight_decay": -1.0}, r"weight_decay must be 0 or more, got -1\.0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=message):
        Lion([weight], **options)
    with pytest.raises(ValueError, match=message):
        Lion([{"params": [weight], **options}])


def test_complex_weights_and_sparse_gradients_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be real, .* got one of torch\.complex64"):
        Lion([nn.Parameter(torch.ones(2, dtype=torch.complex64))])
    table = nn.Embedding(5, 4, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="dense gradients only"):
        Lion(table.parameters()).step()


def test_the_example_in_the_docstring_runs() -> None:
    result = doctest.testmod(import_module(Lion.__module__))
    assert (result.failed, result.attempted) == (0, 5)


def test_the_registry_finds_it_and_every_option_is_explained() -> None:
    registry = get_registry()
    entry = registry.find("optimizer/plugin-template:lion")
    assert registry.resolve(entry) is Lion
    options = schema_of(Lion, registry.kinds[Kind.OPTIMIZER]).options
    assert list(options) == ["lr", "betas", "weight_decay", "maximize"]
    assert all(option.meaning for option in options.values())


def test_the_recipe_sets_options_that_exist() -> None:
    registry = get_registry()
    recipe = tomllib.loads(recipe_path(registry.find("recipe/lm-pretrain-lion")).read_text("utf-8"))
    chosen = recipe["optimizer"]
    assert registry.resolve(registry.find(f"optimizer/{chosen.pop('name')}")) is Lion
    assert chosen.keys() <= schema_of(Lion, registry.kinds[Kind.OPTIMIZER]).options.keys()


def test_listing_it_does_not_import_torch() -> None:
    program = "import sys, graftwork.cli; graftwork.cli.main(['list']); sys.exit('torch' in sys.modules)"
    listed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    assert "arXiv:2302.06675" in listed.stdout
