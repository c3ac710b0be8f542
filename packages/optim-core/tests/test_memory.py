"""Bytes of state: counted, predicted, and as a formula.

Reached from here: ``common/state_bytes.py``.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from graftwork_optim_core import GWTAdamW, predicted_state_bytes

SHAPES = [(512, 1376), (7, 5), (13,), (), (4, 3, 3, 3), (0, 4)]


@pytest.mark.parametrize("level", [0, 1, 2, 4])
@pytest.mark.parametrize(("rows", "width"), [(512, 1376), (20, 5461), (3, 1)])
def test_section_7_formula(rows: int, width: int, level: int) -> None:
    weight = nn.Parameter(torch.zeros(rows, width))
    optimizer = GWTAdamW([weight], level=level)
    state = optimizer.state[weight]
    elements = 2 * rows * math.ceil(width / 2**level) + 1
    assert sum(value.numel() for key, value in state.items() if key != "step") == elements
    assert optimizer.state_bytes().total == 4 * elements + 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("state_dtype", "limit"), [("param", 1.01), ("param", None), ("float32", 1.01), ("bfloat16", None)]
)
def test_p8_predicted_bytes_are_allocated_bytes(
    dtype: torch.dtype, state_dtype: str, limit: float | None
) -> None:
    options = {"state_dtype": state_dtype, "norm_growth_limit": limit}
    parameters = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in SHAPES]
    groups = [{"params": parameters[:3]}, {"params": parameters[3:], "level": 1}]
    predicted = predicted_state_bytes([dict(group) for group in groups], **options)
    optimizer = GWTAdamW(groups, **options)
    assert optimizer.state_bytes() == predicted
    assert len(predicted.by_group) == 2
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert optimizer.state_bytes() == predicted


def test_bytes_are_of_storages_not_of_views() -> None:
    weight = nn.Parameter(torch.zeros(4, 8))
    optimizer = GWTAdamW([weight], level=1)
    whole = torch.zeros(1000)
    optimizer.state[weight]["exp_avg"] = whole[:16].view(4, 4)
    optimizer.state[weight]["exp_avg_sq"] = whole[16:32].view(4, 4)
    assert optimizer.state_bytes().total == 4000 + 4 + 4


def test_prediction_from_named_and_frozen_parameters() -> None:
    model = nn.ModuleDict({"mlp": nn.Linear(8, 4)})
    model["mlp"].bias.requires_grad_(False)
    expected = GWTAdamW(list(model.named_parameters())).state_bytes().total
    assert predicted_state_bytes(model.named_parameters()).total == expected == 2 * 4 * 2 * 4 + 4 + 4


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="levels"):
        predicted_state_bytes([torch.zeros(2, 2)], levels=2)
