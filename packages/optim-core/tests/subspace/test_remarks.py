"""What is certain before the first step is said once, when a group is added."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from graftwork_optim_core import (
    GaLoreAdafactor,
    GaLoreAdamW,
    GoLoreAdamW,
    GWTAdamW,
    SubspaceOptimizer,
    param_groups,
)


def told(make: type[SubspaceOptimizer], params: object, **options: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make(params, **options)  # type: ignore[arg-type]
    return [str(one.message) for one in caught]


def test_a_rank_that_saves_nothing_is_said_with_bytes() -> None:
    layers = nn.Sequential(nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(64, 64))
    groups = param_groups(nn.ModuleDict({"mlp": layers, "head": nn.Linear(32, 8)}), report="off")
    # Two moments of 64 x 32 floats, a step and a scale, are what AdamW itself keeps.
    whole = GWTAdamW([nn.Parameter(torch.zeros(64, 32))], level=0, norm_growth_limit=None).state_bytes().total
    assert told(GaLoreAdamW, groups, rank=32) == [
        "2 of 3 weights save no state at rank=32: 'mlp.0.weight' of 64 x 32, for one, takes "
        f"{whole:,} bytes, and without a projection {whole:,}; take a smaller rank"
    ]
    assert told(GoLoreAdamW, groups, rank=128, total_steps=10)[0].startswith("3 of 3 weights")
    # One direction fewer, and the basis takes more than it saves.
    assert told(GaLoreAdamW, groups, rank=31)[0].startswith("2 of 3 weights")
    assert told(GaLoreAdamW, groups, rank=16) == told(GaLoreAdafactor, groups, rank=16) == []
    assert told(GWTAdamW, groups, level=0) == told(GaLoreAdamW, [nn.Parameter(torch.zeros(0, 8))]) == []


@pytest.mark.parametrize(
    ("changed", "grows"),
    [
        ({}, True),
        ({"transform": "gram", "host": "adam8bit"}, True),
        ({"transform": "golore", "transform_options": {"random_last": 0.0}}, True),
        ({"transform": "golore", "transform_options": {"random_last": 1.0}}, False),
        ({"transform": "power"}, False),
        ({"host": "msgd"}, False),
        ({"host": "adam-mini"}, False),
        ({"transform_options": {"refresh_every": 2}}, False),
        ({"transform_options": {"moments": "keep"}}, False),
        ({"transform_options": {"side": "std"}}, False),
    ],
)
def test_what_lets_updates_grow_is_said_and_nothing_else_is(changed: dict[str, object], grows: bool) -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(16, 24))
    own = {"rank": 4, "side": "full", "moments": "project", "refresh_every": 1}
    options: dict[str, object] = {"host": "adamw", "transform": "svd", **changed}
    options["transform_options"] = own | dict(changed.get("transform_options", {}))  # type: ignore[call-overload]
    remarks = told(SubspaceOptimizer, [weight], **options)
    assert bool(remarks) == grows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = SubspaceOptimizer([weight], lr=1.0, **options)  # type: ignore[arg-type]
    largest = 0.0
    for _ in range(20):
        weight.grad = torch.randn(16, 24)
        before = weight.detach().clone()
        optimizer.step()
        largest = max(largest, float((weight.detach() - before).abs().max()))
    assert (largest > 500) == grows


@pytest.mark.parametrize(
    "make",
    [
        lambda weight: GaLoreAdamW([weight], rank=8),
        lambda weight: SubspaceOptimizer([weight], transform="svd", transform_options={"rank": 8}),
        lambda weight: GWTAdamW([nn.Linear(8, 8).weight]).add_param_group(
            {"params": [weight], "transform": "svd", "rank": 8}
        ),
    ],
    ids=["front", "by names", "added"],
)
def test_a_remark_points_at_the_line_that_asked_for_it(make: Callable[[nn.Parameter], object]) -> None:
    with pytest.warns(UserWarning, match="save no state") as told_of:
        make(nn.Parameter(torch.zeros(8, 8)))
    assert [one.filename for one in told_of] == [__file__]


def test_groups_by_layer_get_one_remark_of_each_kind() -> None:
    layers = [nn.Linear(32, 32) for _ in range(12)]
    groups = [
        {"params": list(layer.named_parameters(f"layers.{i}")), "lr": 0.1} for i, layer in enumerate(layers)
    ]
    dimensions, rank = told(GaLoreAdamW, groups, rank=32)
    assert dimensions.startswith("12 parameters of fewer than two dimensions ('layers.0.bias' first)")
    assert rank.startswith("12 of 12 weights save no state at rank=32: 'layers.0.weight' of 32 x 32")
    groups[0]["rank"] = 40
    assert "at their ranks, the first at 40: 'layers.0.weight'" in told(GaLoreAdamW, groups, rank=32)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = GaLoreAdamW(groups[:-1], rank=32)
    with pytest.warns(UserWarning, match="1 of 1 weights save no state"):
        optimizer.add_param_group({"params": [("layers.11.weight", layers[-1].weight)]})


def test_a_head_of_one_row_is_no_mistake_of_the_ranks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GaLoreAdamW([nn.Linear(32, 1).weight], rank=1)
