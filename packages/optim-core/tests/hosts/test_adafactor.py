"""Adafactor against torch's, and what torch's has not: a running mean, plain steps, a coarse space."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core import SubspaceOptimizer
from graftwork_optim_core.common.sharding import Rows
from graftwork_optim_core.hosts.adafactor import AdafactorHost
from graftwork_optim_core.subspace.site import Site

SHAPES = [(6, 10), (10, 6), (7,), (3, 1), (1, 4)]


def start(shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(2)
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in shapes]


def gradients_of(parameters: list[nn.Parameter], step: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    size = scale * (1 + 5 * (step % 4 == 3))
    return [
        torch.randn(p.shape, generator=generator, dtype=p.dtype) * torch.linspace(0.1, 2, p.shape[-1]) * size
        for p in (parameter.detach() for parameter in parameters)
    ]


@pytest.mark.parametrize("modes", [{}, {"foreach": True}, {"capturable": True}], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 10.0},
        {"lr": 0.5, "beta2_decay": -0.5, "d": 1.5},
        {"eps": (1e-3, 0.5)},
        {"eps": (None, 0.0)},
    ],
    ids=str,
)
def test_equals_torch(options: dict[str, Any], modes: dict[str, bool]) -> None:
    ours, theirs = start(SHAPES), start(SHAPES)
    translated = {key: value for key, value in options.items() if key not in ("lr", "eps")}
    if "eps" in options:
        translated |= dict(zip(("eps1", "eps2"), options["eps"], strict=True))
    optimizer = SubspaceOptimizer(
        ours,
        lr=options.get("lr", 1e-2),
        host="adafactor",
        transform="identity",
        host_options=translated,
        **modes,
    )
    reference = torch.optim.Adafactor(theirs, **options)
    for step in range(12):
        for one, two, gradient in zip(ours, theirs, gradients_of(ours, step), strict=True):
            one.grad, two.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
        for one, two in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_equals_torch_in_float32_too() -> None:
    ours, theirs = start(SHAPES, torch.float32), start(SHAPES, torch.float32)
    optimizer = SubspaceOptimizer(ours, lr=1e-2, host="adafactor", transform="identity")
    reference = torch.optim.Adafactor(theirs, lr=1e-2)
    for step in range(12):
        # Smaller than torch's least mean of squares, where the factored ones are too small.
        for one, two, gradient in zip(ours, theirs, gradients_of(ours, step, 1e-4), strict=True):
            one.grad, two.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
    # A matrix of one row or one column keeps its mean squares themselves, which have no such least mean.
    for one, two in zip(ours[:3], theirs[:3], strict=True):
        torch.testing.assert_close(one, two, rtol=2e-5, atol=1e-6)


def test_state_is_a_row_and_a_column() -> None:
    weight, vector = nn.Parameter(torch.zeros(64, 48)), nn.Parameter(torch.zeros(48))
    optimizer = SubspaceOptimizer([weight], host="adafactor", transform="wavelet")
    assert {key: tuple(value.shape) for key, value in optimizer.state[weight].items()} == {
        "row_var": (64, 1),
        "col_var": (1, 12),
        "step": (),
    }
    assert optimizer.state_bytes().total == 4 * (64 + 12 + 1)
    plain = SubspaceOptimizer([vector], host="adafactor", host_options={"beta1": 0.5}, plain=True)
    assert {key: tuple(value.shape) for key, value in plain.state[vector].items()} == {
        "exp_avg": (48,),
        "variance": (48,),
        "step": (),
    }


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_one_row_or_one_column_keeps_its_mean_squares(shape: tuple[int, int]) -> None:
    assert {name: slot.shape for name, slot in AdafactorHost().slots(shape).items()} == {"variance": shape}


def test_a_step_may_be_of_another_dtype() -> None:
    """The counter is float32 where the arithmetic is not."""
    host, site = AdafactorHost(beta1=0.9), Site((2, 3), Rows(torch.zeros(2, 3)))
    gradient, found = torch.randn(2, 3).double(), []
    for step in (3.0, torch.tensor(3.0)):
        averages = [[torch.ones(size).double()] for size in ((2, 3), (2, 1), (1, 3))]
        host.accumulate(averages, [gradient], [step], [site])
        found.append(averages)
    torch.testing.assert_close(*found, rtol=1e-14, atol=0)


def test_eq_section_7_1_the_running_mean_is_corrected_already() -> None:
    host, site = AdafactorHost(beta1=0.9), Site((2, 3), Rows(torch.zeros(2, 3)))
    averages = [[torch.zeros(2, 3).double()], [torch.zeros(2, 1).double()], [torch.zeros(1, 3).double()]]
    biased = torch.zeros(2, 3).double()
    for step in range(1, 6):
        gradient = torch.randn(2, 3).double()
        biased = 0.9 * biased + 0.1 * gradient
        host.accumulate(averages, [gradient], [float(step)], [site])
        (direction,) = host.direction(averages, [gradient], [site])
        torch.testing.assert_close(direction.numerator, biased / (1 - 0.9**step), rtol=1e-12, atol=1e-14)
    assert float(host.correction(5.0).mean) == 1.0
    assert host.linear == (0,)
    assert AdafactorHost().linear == ()


def test_eq_algorithm_4_mean_squares_and_direction() -> None:
    host, site = AdafactorHost(), Site((4, 3), Rows(torch.zeros(4, 3)))
    row_var, col_var = torch.zeros(4, 1).double(), torch.zeros(1, 3).double()
    rows, columns = torch.zeros(4).double(), torch.zeros(3).double()
    for step in range(1, 5):
        gradient = torch.randn(4, 3).double()
        decay = 1 - step**-0.8
        rows = decay * rows + (1 - decay) * gradient.square().mean(1)
        columns = decay * columns + (1 - decay) * gradient.square().mean(0)
        host.accumulate([[row_var], [col_var]], [gradient], [float(step)], [site])
    torch.testing.assert_close(row_var[:, 0], rows)
    torch.testing.assert_close(col_var[0], columns)
    (direction,) = host.direction([[row_var], [col_var]], [gradient], [site])
    torch.testing.assert_close(direction.denominator, (torch.outer(rows, columns) / rows.mean()).sqrt())
    assert direction.numerator is gradient


def test_eq_section_6_the_update_is_clipped() -> None:
    """A gradient a hundred times the earlier ones moves the weight as far as any."""
    moved = []
    for scale in (1.0, 100.0):
        (weight,) = start([(5, 8)])
        optimizer = SubspaceOptimizer(
            [weight],
            lr=0.01,
            host="adafactor",
            transform="identity",
            host_options={"scale_parameter": False, "relative_step": False, "beta2_decay": -2.0},
        )
        for step in range(10):
            weight.grad = gradients_of([weight], 0)[0] * (scale if step == 9 else 1.0)
            before = weight.detach().clone()
            optimizer.step()
        moved.append(float((weight.detach() - before).norm() / math.sqrt(weight.numel())))
    assert moved[0] <= 0.01 * (1 + 1e-12)
    assert moved[1] == pytest.approx(0.01, rel=1e-12)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
def test_eq_section_8_step_size(relative: bool, scaled: bool) -> None:
    host = AdafactorHost(relative_step=relative, scale_parameter=scaled)
    values = torch.full((2, 8), -3.0, dtype=torch.float64)
    site = Site((2, 8), Rows(values))
    expected = (min(0.2, 1 / math.sqrt(100)) if relative else 0.2) * (3.0 if scaled else 1.0)
    assert host.rate(0.2, 100.0, values, site) == pytest.approx(expected, rel=1e-14)
    assert isinstance(host.rate(0.2, 100.0, values, site), float)
    for lr in (0.2, torch.tensor(0.2, dtype=torch.float64)):
        rate = host.rate(lr, torch.tensor(100.0, dtype=torch.float64), values, site)
        assert float(rate) == pytest.approx(expected, rel=1e-14)
    small = host.rate(0.2, 1.0, torch.zeros(2, 8), site)
    assert small == pytest.approx(0.2 * (1e-3 if scaled else 1.0), rel=1e-6)


def test_details_are_divided_by_the_factored_root_too() -> None:
    """Section 3 of GWT with Adafactor's root in the place of Adam's, made by hand at level 1."""
    (weight,) = start([(4, 6)])
    before = weight.detach().clone()
    optimizer = SubspaceOptimizer(
        [weight],
        lr=0.1,
        host="adafactor",
        transform="wavelet",
        transform_options={"level": 1, "detail_guard": "off"},
        host_options={"relative_step": False, "scale_parameter": False},
    )
    (gradient,) = gradients_of([weight], 1)
    weight.grad = gradient.clone()
    optimizer.step()
    low = (gradient[:, ::2] + gradient[:, 1::2]) / math.sqrt(2)
    high = (gradient[:, ::2] - gradient[:, 1::2]) / math.sqrt(2)
    squares = low.square()
    root = (squares.mean(1, keepdim=True) * squares.mean(0, keepdim=True) / squares.mean()).sqrt()
    excess = max(1.0, float((low / root).square().mean().sqrt()))
    smooth, rough = low / root / excess, high / root / excess
    update = torch.stack([smooth + rough, smooth - rough], dim=-1).flatten(1) / math.sqrt(2)
    torch.testing.assert_close(weight.detach(), before - 0.1 * update, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta1": 1.0}, r"beta1 must be None or in \[0, 1\), got 1\.0"),
        ({"beta2_decay": 0.1}, r"beta2_decay must be 0 or less, got 0\.1"),
        ({"eps1": 0.0}, r"eps1 must be greater than 0, got 0\.0"),
        ({"eps2": -1.0}, r"eps2 must be 0 or more, got -1\.0"),
        ({"d": 0.5}, r"d must be 1 or more, got 0\.5"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdafactorHost(**options)  # type: ignore[arg-type]
