"""Landscapes: gradients are those of values, and the double well is where it should be.

Reached from here: ``flatness/arrays.py``.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graftwork_decentral.flatness.lab import DoubleWell, Landscape, Quadratic


def differentiated(landscape: Landscape, points: Tensor) -> Tensor:
    points = points.clone().requires_grad_()
    return torch.autograd.grad(landscape.value(points).sum(), points)[0]


@pytest.mark.parametrize("landscape", [Quadratic([[2.0, 0.5], [0.5, 1.0]]), DoubleWell()])
def test_gradients_are_those_of_the_values(landscape: Landscape) -> None:
    assert isinstance(landscape, Landscape)
    points = torch.randn(7, 3, landscape.dimension, dtype=torch.float64) * 2
    torch.testing.assert_close(landscape.gradient(points), differentiated(landscape, points))


def test_a_hessian_per_agent_gives_gradients_per_agent_and_the_mean_value() -> None:
    hessians = torch.tensor([[[1.0]], [[3.0]]], dtype=torch.float64)
    landscape = Quadratic(hessians)
    point = torch.tensor([[[2.0]]], dtype=torch.float64)
    assert landscape.gradient(point).tolist() == [[[2.0], [6.0]]]
    assert landscape.value(point).tolist() == [[4.0]]
    apart = torch.tensor([[[2.0], [1.0]]], dtype=torch.float64)
    assert landscape.gradient(apart).tolist() == [[[2.0], [3.0]]]


def test_the_double_well_has_equal_depths_and_unequal_curvatures() -> None:
    well = DoubleWell()
    points = torch.tensor([[-1.0], [1.5]], dtype=torch.float64)
    assert well.value(points).tolist() == pytest.approx([0.0, 0.0], abs=0.008)
    step = 1e-4
    curvatures = (well.gradient(points + step) - well.gradient(points - step)) / (2 * step)
    # Close to 1 / width^2 = 11.1 and 1.56: the other well's tail takes a little.
    assert curvatures.flatten().tolist() == pytest.approx([11.1, 1.56], rel=0.02)


def test_the_barrier_is_the_highest_point_between_the_wells() -> None:
    well = DoubleWell()
    top = torch.tensor([[well.barrier]], dtype=torch.float64)
    assert float(well.gradient(top)) == pytest.approx(0.0, abs=1e-12)
    between = torch.linspace(-1, 1.5, 10_001, dtype=torch.float64)[:, None]
    assert well.height >= float(well.value(between).max()) > well.height - 1e-6
    assert well.in_flat_well(top + torch.tensor([[-1e-6], [1e-6]])).tolist() == [False, True]


def test_where_the_parabolas_cross_is_left_of_the_barrier_and_lower_than_both() -> None:
    """At -.318 both parabolas are 2.58 high, but J there is lower by log 2 and still rises."""
    crossing = torch.tensor([[-0.318]], dtype=torch.float64)
    sharp, flat = (-0.318 + 1) ** 2 / (2 * 0.3**2), (-0.318 - 1.5) ** 2 / (2 * 0.8**2)
    assert sharp == pytest.approx(2.58, abs=0.005)
    assert flat == pytest.approx(2.58, abs=0.005)
    well = DoubleWell()
    assert float(well.value(crossing)) == pytest.approx(2.583 - math.log(2), abs=2e-3)
    assert float(well.gradient(crossing)) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sharp_width": 0.0}, "widths must be positive, got 0.0 and 0.8"),
        ({"sharp_centre": 2.0}, "sharp_centre must be below flat_centre, got 2.0 and 1.5"),
        ({"sharp_width": 3.0, "flat_width": 3.0}, "the wells must be far enough apart"),
    ],
)
def test_what_is_no_double_well(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DoubleWell(**options)
