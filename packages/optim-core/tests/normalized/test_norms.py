"""Tests of norms whose squares vanish, and of what the normalized optimizers then make of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from graftwork_optim_core import ANSGDC, NSGDC, NSGDCVR
from graftwork_optim_core.normalized.norms import exact_norm, least_norm

LR = 2.0**-7
FAMILY = {
    "nsgdc": NSGDC,
    "nsgdc-vr": NSGDCVR,
    "recompute": partial(NSGDCVR, previous="recompute"),
    "a-nsgdc": ANSGDC,
}


@pytest.mark.parametrize(
    ("dtype", "unit"), [(torch.float32, 1e-44), (torch.float32, 1e-25), (torch.float64, 1e-290)], ids=str
)
def test_a_norm_is_exact_where_its_squares_have_vanished(dtype: torch.dtype, unit: float) -> None:
    tensor = torch.tensor([3 * unit, -4 * unit], dtype=dtype)
    squares = float(tensor.square().sum())
    assert exact_norm(squares**0.5, tensor, dtype) == pytest.approx(5 * unit, rel=0.1)
    assert exact_norm(0.0, torch.zeros(3, dtype=dtype), dtype) == 0.0
    assert exact_norm(0.0, torch.zeros(0, dtype=dtype), dtype) == 0.0
    for other in (1.0, float("nan"), float("inf"), 1.1 * least_norm(2, dtype)):
        assert repr(exact_norm(other, tensor, dtype)) == repr(other)


@pytest.mark.parametrize(
    "options", [{}, {"norm_dtype": "float64"}, {"fused": False}, {"capturable": True}], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("make", FAMILY.values(), ids=FAMILY)
def test_moves_stay_as_long_as_lr_while_gradients_are_zero_and_then_end(
    make: Any, dtype: torch.dtype, options: dict[str, Any]
) -> None:
    if isinstance(make, partial) and dtype == torch.bfloat16:
        pytest.skip("recomputes no narrow weights")
    weight = torch.nn.Parameter(torch.zeros(3, dtype=dtype))
    # As many powers of ten as 2,000 steps with a momentum of 0.68, which is past all dtypes.
    optimizer = make([weight], lr=LR, momentum=0.1, **options)
    moves = []
    for step in range(340 if dtype == torch.float64 else 60):
        before = weight.detach().clone()
        gradient = torch.tensor([3.0, -4.0, 0.0], dtype=dtype) * (step == 0)

        def closure(gradient: torch.Tensor = gradient) -> torch.Tensor:
            weight.grad = gradient
            return gradient.sum()

        closure()
        optimizer.step(closure) if optimizer.closure else optimizer.step()
        moves.append(float((weight.detach() - before).double().norm()))
    # The first of A-NSGDC goes ahead at once, and weights in bfloat16 are rounded.
    rounding = 2.0**-7 if dtype == torch.bfloat16 else 1e-5
    assert max(moves[1:]) <= LR * (1 + rounding) + rounding * float(weight.detach().double().norm())
    assert moves[10] > 0.9 * LR - rounding
    # At last the way from w to the point ahead is gone back.
    assert moves[-1] == 0
