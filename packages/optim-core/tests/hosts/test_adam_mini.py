"""Adam-mini's equations, and where it is Adam itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core import SubspaceOptimizer
from graftwork_optim_core.common.sharding import Rows
from graftwork_optim_core.hosts.adam_mini import AdamMiniHost
from graftwork_optim_core.subspace.site import Site

SITE = Site((1, 1), Rows(torch.zeros(1, 1)))


def run(host: str, shape: tuple[int, ...], gradients: list[Tensor], transform: str = "identity") -> Tensor:
    weight = nn.Parameter(torch.ones(shape, dtype=torch.float64))
    optimizer = SubspaceOptimizer([weight], lr=0.1, host=host, transform=transform, fused=False)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


def test_eq_one_mean_square_a_row() -> None:
    host = AdamMiniHost(betas=(0.9, 0.99), eps=1e-3)
    coarse = [torch.randn(3, 5).double(), torch.randn(2, 4).double()]
    means, squares = (
        [torch.rand_like(c) for c in coarse],
        [torch.rand(c.shape[0], 1).double() for c in coarse],
    )
    expected = [
        (0.9 * m + 0.1 * a, 0.99 * v + 0.01 * a.square().mean(1, keepdim=True))
        for m, v, a in zip(means, squares, coarse, strict=True)
    ]
    host.accumulate([means, squares], coarse, [1.0, 1.0], [SITE, SITE])
    for place, direction in enumerate(host.direction([means, squares], coarse, [SITE, SITE])):
        mean, square = expected[place]
        torch.testing.assert_close(means[place], mean)
        torch.testing.assert_close(squares[place], square)
        torch.testing.assert_close(direction.numerator, mean)
        torch.testing.assert_close(direction.denominator, (square.sqrt() + 1e-3).expand_as(mean))
        assert direction.denominator is not None
        direction.denominator.add_(1.0)
        torch.testing.assert_close(squares[place], square)


def test_two_steps_by_hand() -> None:
    gradients = [
        torch.tensor([[1.0, -7.0]]).double().expand(2, 2),
        torch.tensor([[2.0, 4.0]]).double().expand(2, 2),
    ]
    moved = run("adam-mini", (2, 2), gradients)[0] - 1
    first = torch.tensor([1.0, -7.0]).double() / 5
    mean, square = torch.tensor([0.9 * 0.1 + 0.2, 0.9 * -0.7 + 0.4]).double(), 0.999 * 0.025 + 0.010
    second = mean / 0.19 / math.sqrt(square / (1 - 0.999**2))
    torch.testing.assert_close(moved, -0.1 * (first + second), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 1)])
def test_where_a_row_has_one_element_or_there_is_one_row_it_is_adam(shape: tuple[int, ...]) -> None:
    gradients = [torch.randn(shape).double() for _ in range(5)]
    torch.testing.assert_close(
        run("adam-mini", shape, gradients), run("adamw", shape, gradients), rtol=1e-12, atol=1e-13
    )


def test_where_a_rows_elements_are_of_one_size_it_is_adam() -> None:
    gradients = [(torch.rand(4, 6).double() < 0.5) * 2.0 - 1.0 for _ in range(5)]
    sizes = torch.rand(4, 1).double() + 0.1
    gradients = [gradient * sizes for gradient in gradients]
    torch.testing.assert_close(
        run("adam-mini", (4, 6), gradients), run("adamw", (4, 6), gradients), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("transform", ["identity", "wavelet"])
def test_p4_permuting_rows_permutes_the_update(transform: str) -> None:
    gradients, order = [torch.randn(6, 12).double() for _ in range(4)], torch.tensor([3, 0, 5, 1, 4, 2])
    straight = run("adam-mini", (6, 12), gradients, transform)
    permuted = run("adam-mini", (6, 12), [gradient[order] for gradient in gradients], transform)
    torch.testing.assert_close(permuted, straight[order], rtol=1e-13, atol=1e-14)


def test_p5_scaling_a_row_of_the_gradients_changes_nothing() -> None:
    gradients = [torch.randn(4, 8).double() * 1e6 for _ in range(4)]
    sizes = torch.tensor([[1.0], [2.0], [4.0], [1024.0]]).double()
    torch.testing.assert_close(
        run("adam-mini", (4, 8), gradients, "wavelet"),
        run("adam-mini", (4, 8), [gradient * sizes for gradient in gradients], "wavelet"),
        rtol=1e-9,
        atol=1e-9,
    )


def test_state_is_half_of_adams() -> None:
    weight = nn.Parameter(torch.zeros(64, 256))
    assert SubspaceOptimizer([weight], host="adam-mini", transform="identity").state_bytes().total == 4 * (
        64 * 256 + 64 + 1
    )
    assert SubspaceOptimizer([weight], host="adam-mini").state_bytes().total == 4 * (64 * 64 + 64 + 1)


def test_options_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"betas must be two numbers in \[0, 1\), got \(0\.9, 1\.0\)"):
        AdamMiniHost(betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="eps must be greater than 0, got 0"):
        AdamMiniHost(eps=0)
