"""Momentum SGD against torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graftwork_optim_core import SubspaceOptimizer
from graftwork_optim_core.common.sharding import Rows
from graftwork_optim_core.hosts.msgd import MSGDHost
from graftwork_optim_core.subspace.site import Site

SITE = Site((1, 3), Rows(torch.zeros(1, 3)))


@pytest.mark.parametrize("modes", [{}, {"foreach": True}, {"foreach": False}, {"capturable": True}], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.9},
        {"momentum": 0.8, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
    ],
    ids=str,
)
def test_equals_torch(options: dict[str, Any], modes: dict[str, bool]) -> None:
    shapes = [(5, 8), (8,), (3, 2, 2)]
    ours, theirs = ([nn.Parameter(torch.ones(shape, dtype=torch.float64)) for shape in shapes] for _ in "ab")
    optimizer = SubspaceOptimizer(
        ours, lr=0.1, host="msgd", transform="identity", host_options=options, **modes
    )
    reference = torch.optim.SGD(theirs, lr=0.1, **options)
    for step in range(8):
        for place, (one, two) in enumerate(zip(ours, theirs, strict=True)):
            gradient = torch.randn(one.shape, dtype=torch.float64)
            # The last weight's first step is the third: dampening must wait for it.
            late = place == 2 and step < 2
            one.grad, two.grad = (None, None) if late else (gradient.clone(), gradient.clone())
        optimizer.step()
        reference.step()
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


def test_without_momentum_nothing_is_kept() -> None:
    weight = nn.Parameter(torch.zeros(4, 8))
    optimizer = SubspaceOptimizer([weight], host="msgd", host_options={"momentum": 0.0})
    assert list(optimizer.state[weight]) == ["step"]


def test_dampening_equal_to_momentum_is_a_running_mean() -> None:
    host = MSGDHost(momentum=0.9, dampening=0.9)
    buffer = torch.zeros(1, 3)
    for step, value in enumerate((2.0, 4.0), start=1):
        host.accumulate([[buffer]], [torch.full((1, 3), value)], [float(step)], [SITE])
    torch.testing.assert_close(buffer, torch.full((1, 3), 0.9 * 2.0 + 0.1 * 4.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1\.0"),
        ({"dampening": 1.5}, r"dampening must be in \[0, 1\], got 1\.5"),
        (
            {"nesterov": True, "dampening": 0.5},
            "nesterov must come with momentum greater than 0 and dampening 0",
        ),
        (
            {"nesterov": True, "momentum": 0.0},
            "nesterov must come with momentum greater than 0 and dampening 0",
        ),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MSGDHost(**options)  # type: ignore[arg-type]
