"""Tests of what a model's state dict says while an optimizer keeps a part of its weights elsewhere."""

from __future__ import annotations

import copy
import gc
import io
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core import ANSGDC, LOZO, LOZOM, MeZO

TRAINS = "model.state_dict\\(\\) holds the weights at which"
OF_LOSSES = {
    "sidepath": partial(LOZO, backend="sidepath", weight_decay=0.1),
    "dual": partial(LOZO, backend="dual"),
    "momentum": partial(LOZOM, backend="sidepath", stochastic_rounding=False),
    "inplace": partial(LOZO, backend="inplace"),
    "full-rank": MeZO,
}


def small(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, 12), nn.Tanh(), nn.Linear(12, 9)).to(dtype)


def loss_of(model: nn.Module, step: int) -> Tensor:
    parameter = next(model.parameters())
    inputs = torch.randn(4, 9, generator=torch.Generator().manual_seed(step)).to(parameter.dtype)
    return (model(inputs) - step).square().float().mean()


def train(model: nn.Module, optimizer: Any, *steps: int) -> None:
    for step in steps:
        if optimizer.closure == "loss":
            optimizer.step(partial(loss_of, model, step))
        else:
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()


def attached(make: Any, dtype: torch.dtype = torch.float32, **options: Any) -> tuple[nn.Sequential, Any]:
    model = small(dtype)
    optimizer = make(model.named_parameters(), lr=1e-2, **options)
    optimizer.attach(model)
    train(model, optimizer, 0, 1, 2)
    return model, optimizer


def quiet(model: nn.Module) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("make", OF_LOSSES.values(), ids=OF_LOSSES)
def test_in_evaluation_mode_it_is_merged_and_in_training_the_very_bits(make: Any, dtype: torch.dtype) -> None:
    options = {} if make is MeZO else {"rank": 1, "interval": 50}
    model, optimizer = attached(make, dtype, **options)
    raw = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    other, other_optimizer = copy.deepcopy((model, optimizer))
    other_optimizer.merge()
    merged = {name: parameter.detach() for name, parameter in other.named_parameters()}
    optimizer.eval()
    # Rounded at random where it is merged, to nearest where it is shown.
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2
    for name, value in (quiet(model) | {f"2.{key}": one for key, one in quiet(model[2]).items()}).items():
        torch.testing.assert_close(value, merged[name], rtol=tolerance, atol=tolerance)
    assert model.state_dict(keep_vars=True)["0.weight"] is model[0].weight
    optimizer.train()
    if same(raw, merged):
        assert same(quiet(model), raw)
    else:
        with pytest.warns(UserWarning, match=TRAINS):
            model.state_dict()
        assert same(quiet(model), raw)
    undisturbed, undisturbed_optimizer = attached(make, dtype, **options)
    train(model, optimizer, 3, 4)
    train(undisturbed, undisturbed_optimizer, 3, 4)
    assert same(dict(model.named_parameters()), dict(undisturbed.named_parameters()))


def test_the_point_ahead_is_told_once_and_the_iterate_is_shown_in_evaluation_mode() -> None:
    model, optimizer = attached(ANSGDC)
    with pytest.warns(UserWarning, match=f"{TRAINS} ANSGDC trains"):
        model.state_dict()
    ahead = quiet(model)
    optimizer.eval()
    iterate = quiet(model)
    assert not same(iterate, ahead)
    optimizer.train()
    assert same(quiet(model), ahead)


@pytest.mark.parametrize("make", [OF_LOSSES["sidepath"], ANSGDC], ids=["lozo", "a-nsgdc"])
def test_copies_and_pickles_of_the_model_stand_for_themselves(make: Any) -> None:
    model, optimizer = attached(make)
    raw = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    assert b"graftwork" not in buffer.getvalue()
    pickled = torch.load(buffer, weights_only=False)
    for other in (copy.deepcopy(model), pickled):
        assert same(quiet(other), raw)
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    with pytest.warns(UserWarning, match=TRAINS):
        twin.state_dict()
    del optimizer, twin_optimizer
    gc.collect()
    assert same(quiet(model), raw)
