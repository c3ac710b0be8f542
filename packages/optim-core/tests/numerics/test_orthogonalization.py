"""Newton-Schulz against torch.optim.Muon and against the singular value decomposition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graftwork_optim_core.numerics.orthogonalization import ShapeRule, newton_schulz, shape_adjustment

SHAPES = [(16, 48), (48, 16), (32, 32), (1, 7), (7, 1), (1, 1)]


def muon_step(weight: Tensor, gradients: list[Tensor], **options: object) -> Tensor:
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.Muon([parameter], **options)  # type: ignore[arg-type]
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("rule", "dtype"), [("original", torch.bfloat16), ("match_rms_adamw", torch.float32)]
)
def test_one_muon_step_without_momentum_to_the_bit(
    dtype: torch.dtype, rule: ShapeRule, shape: tuple[int, int]
) -> None:
    weight, gradient = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    lr, weight_decay = 0.5, 0.1
    theirs = muon_step(
        weight, [gradient], lr=lr, weight_decay=weight_decay, momentum=0.0, nesterov=False, adjust_lr_fn=rule
    )
    update = newton_schulz(gradient)
    ours = weight.mul(1 - lr * weight_decay).add_(update, alpha=-lr * shape_adjustment(rule, shape))
    assert update.dtype == torch.bfloat16
    assert not torch.equal(theirs, weight)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", SHAPES)
def test_muon_steps_with_nesterov_momentum_to_the_bit(shape: tuple[int, int]) -> None:
    weight, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(3)]
    lr, weight_decay, momentum = 0.02, 0.1, 0.95
    ours, average = weight.clone(), torch.zeros(shape)
    for gradient in gradients:
        average.lerp_(gradient, 1 - momentum)
        update = newton_schulz(gradient.lerp(average, momentum))
        ours.mul_(1 - lr * weight_decay).add_(update, alpha=-lr * shape_adjustment("original", shape))
    theirs = muon_step(weight, gradients, lr=lr, weight_decay=weight_decay, momentum=momentum)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("options", [{"ns_steps": 3}, {"ns_coefficients": (2.0, -1.5, 0.5)}, {"eps": 100.0}])
def test_options_are_those_of_muon(options: dict[str, object]) -> None:
    gradient = torch.randn(12, 20)
    theirs = muon_step(
        torch.zeros(12, 20), [gradient], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False, **options
    )
    names = {"ns_steps": "steps", "ns_coefficients": "coefficients", "eps": "eps"}
    ours = newton_schulz(gradient, **{names[key]: value for key, value in options.items()})  # type: ignore[arg-type]
    assert torch.equal(-ours.float(), theirs)
    assert not torch.equal(ours, newton_schulz(gradient))


@pytest.mark.parametrize("magnitude", [1e-6, 1e-8, 1e-12])
def test_small_gradients_are_divided_as_in_muon(magnitude: float) -> None:
    gradient = torch.randn(2, 3) * magnitude
    theirs = muon_step(torch.zeros(2, 3), [gradient], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False)
    ours = -newton_schulz(gradient).float()
    assert torch.equal(ours, theirs)


def test_no_step_divides_by_the_norm_alone() -> None:
    matrix = torch.randn(6, 4)
    expected = matrix / torch.linalg.vector_norm(matrix)
    torch.testing.assert_close(newton_schulz(matrix, steps=0, dtype=torch.float32), expected)


@pytest.mark.parametrize("shape", [(64, 160), (160, 64), (96, 128)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_singular_values_of_random_matrices_move_to_one(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    for _ in range(5):
        result = newton_schulz(torch.randn(shape), dtype=dtype)
        values = torch.linalg.svdvals(result.double())
        assert result.shape == shape
        assert result.dtype == dtype
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_singular_values_above_a_five_hundredth_end_between_068_and_121() -> None:
    starts = torch.logspace(math.log10(0.002), 0, 400, dtype=torch.float64)
    matrix = torch.diag(starts / torch.linalg.vector_norm(starts))
    within = matrix.diagonal() >= 0.002
    values = newton_schulz(matrix, dtype=torch.float64).diagonal()[within]
    assert within.sum() > 100
    assert values.min() > 0.68
    assert values.max() < 1.21
    assert newton_schulz(torch.diag(torch.tensor([1.0, 0.001])), dtype=torch.float64)[1, 1] < 0.5


def test_eq_newton_schulz_acts_on_singular_values_alone() -> None:
    left, _ = torch.linalg.qr(torch.randn(9, 5, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    values = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1], dtype=torch.float64)
    a, b, c = 3.4445, -4.7750, 2.0315
    expected = values / values.norm()
    for _ in range(5):
        expected = a * expected + b * expected**3 + c * expected**5
    result = newton_schulz(left * values @ right.T, dtype=torch.float64)
    torch.testing.assert_close(result, left * expected @ right.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_tall_matrix_is_the_transpose_of_the_wide_one(dtype: torch.dtype) -> None:
    matrix = torch.randn(40, 24)
    tall, wide = newton_schulz(matrix, dtype=dtype), newton_schulz(matrix.T.contiguous(), dtype=dtype)
    torch.testing.assert_close(tall, wide.T, rtol=0, atol=0.05 if dtype == torch.bfloat16 else 1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_zero_and_nearly_zero_matrices_stay_finite(shape: tuple[int, int], dtype: torch.dtype) -> None:
    assert torch.equal(newton_schulz(torch.zeros(shape), dtype=dtype), torch.zeros(shape, dtype=dtype))
    for magnitude in (1e-45, 1e-30, 1e-7):
        assert torch.isfinite(newton_schulz(torch.full(shape, magnitude), dtype=dtype)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_the_matrix_is_left_alone(shape: tuple[int, int], dtype: torch.dtype) -> None:
    matrix = torch.randn(shape, dtype=dtype)
    before = matrix.clone()
    newton_schulz(matrix, dtype=dtype)
    newton_schulz(matrix, steps=0, dtype=dtype)
    assert torch.equal(matrix, before)


def test_eq_shape_adjustment() -> None:
    assert shape_adjustment("original", (400, 100)) == 2.0
    assert shape_adjustment("original", (100, 400)) == 1.0
    assert shape_adjustment("match_rms_adamw", (400, 100)) == 0.2 * 20
    assert shape_adjustment("match_rms_adamw", (100, 400)) == 0.2 * 20


def test_match_rms_gives_the_update_the_root_mean_square_of_adamw() -> None:
    for shape in [(64, 256), (256, 64)]:
        update = newton_schulz(torch.randn(shape), dtype=torch.float32)
        root_mean_square = update.square().mean().sqrt() * shape_adjustment("match_rms_adamw", shape)
        assert 0.15 < root_mean_square < 0.25


def test_messages_say_what_would_be_right() -> None:
    with pytest.raises(ValueError, match="matrix must have 2 dimensions"):
        newton_schulz(torch.ones(3))
    with pytest.raises(ValueError, match="steps must be 0 or more, got -1"):
        newton_schulz(torch.ones(3, 3), steps=-1)
    with pytest.raises(ValueError, match="eps must be greater than 0"):
        newton_schulz(torch.ones(3, 3), eps=0.0)
    with pytest.raises(ValueError, match="rule must be 'original' or 'match_rms_adamw', got 'none'"):
        shape_adjustment("none", (3, 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shape must be two positive numbers"):
        shape_adjustment("original", (3,))
