"""Floats and tensors give the same numbers."""

from __future__ import annotations

import pytest
import torch

from graftwork_optim_core.common.scalars import limit_growth, one_minus_power, square_root


@pytest.mark.parametrize("base", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("exponent", [1.0, 2.0, 1000.0])
def test_one_minus_power_is_accurate_in_float32_too(base: float, exponent: float) -> None:
    expected = 1 - base**exponent
    assert one_minus_power(base, exponent) == pytest.approx(expected, rel=1e-12)
    # 1 - beta ** t in float32 would be off by 6e-5 at beta = 0.999, t = 1.
    assert float(one_minus_power(base, torch.tensor(exponent))) == pytest.approx(expected, rel=3e-7)


@pytest.mark.parametrize(
    ("norm", "previous"), [(2.0, 0.0), (2.0, 1.0), (1.005, 1.0), (0.0, 1.0), (0.0, 0.0), (0.5, 1.0)]
)
def test_eq_limiter(norm: float, previous: float) -> None:
    divisor, remembered = limit_growth(norm, previous, 1.01)
    if previous == 0.0 or norm <= 1.01 * previous:
        assert divisor == 1.0
    else:
        assert norm / float(divisor) == pytest.approx(1.01 * previous, rel=1e-7)
    assert float(remembered) == pytest.approx(norm / float(divisor) if norm else previous)
    double = {"dtype": torch.float64}
    as_tensors = limit_growth(torch.tensor([norm], **double), torch.tensor([previous], **double), 1.01)
    assert [float(value) for value in as_tensors] == pytest.approx(
        [float(divisor), float(remembered)], rel=1e-15
    )


def test_square_root() -> None:
    assert square_root(4.0) == 2.0
    assert float(square_root(torch.tensor(4.0))) == 2.0
