"""NSGDC: the equation by hand, and what holds for every gradient.

Reached from here: ``normalized/arithmetic.py``, ``normalized/movers.py``, ``normalized/norms.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core.normalized.nsgdc import NSGDC
from graftwork_optim_core.normalized.optimizer import NormalizedOptimizer
from graftwork_optim_core.normalized.variance_reduced import NSGDCVR

HOW: dict[str, dict[str, Any]] = {
    "fused": {},
    "eager": {"fused": False},
    "foreach": {"foreach": True},
    "capturable": {"capturable": True},
}
every_way = pytest.mark.parametrize("way", HOW.values(), ids=HOW)


def follow(
    optimizer: NormalizedOptimizer, parameters: Sequence[nn.Parameter], gradients: Sequence[Sequence[Tensor]]
) -> list[list[Tensor]]:
    """Step on given gradients; return the parameters after each."""
    points = []
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = gradient.to(parameter.dtype)
        if isinstance(optimizer, NSGDCVR):
            optimizer.step(lambda: None)
        else:
            optimizer.step()
        points.append([parameter.detach().clone() for parameter in parameters])
    return points


def by_hand(**options: Any) -> tuple[nn.Parameter, NSGDC]:
    weight = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    return weight, NSGDC([weight], lr=1.0, momentum=0.5, **options)


@every_way
def test_1_two_steps_by_hand(way: dict[str, Any]) -> None:
    weight, optimizer = by_hand(**way)
    (first,), (second,) = follow(
        optimizer, [weight], [[torch.tensor([3.0, 4.0])], [torch.tensor([0.0, 10.0])]]
    )
    assert first.tolist() == pytest.approx([2.4, 3.2], abs=1e-12)
    assert optimizer.state[weight]["momentum_buffer"].tolist() == [1.5, 7.0]
    assert second.tolist() == pytest.approx([2.190471, 2.222198], abs=5e-7)


@every_way
def test_4_two_steps_by_hand_with_clipping(way: dict[str, Any]) -> None:
    weight, optimizer = by_hand(clip=5.0, **way)
    _, (second,) = follow(optimizer, [weight], [[torch.tensor([3.0, 4.0])], [torch.tensor([0.0, 10.0])]])
    assert optimizer.state[weight]["momentum_buffer"].tolist() == pytest.approx([1.5, 4.5], abs=1e-12)
    assert second.tolist() == pytest.approx([2.083772, 2.251317], abs=5e-7)


@every_way
@pytest.mark.parametrize("clip", [None, 0.3])
def test_6_every_move_has_the_same_length(way: dict[str, Any], clip: float | None) -> None:
    torch.manual_seed(1)
    parameters = [
        nn.Parameter(torch.randn(100, 90)),
        nn.Parameter(torch.randn(7, dtype=torch.float64)),
        nn.Parameter(torch.randn(5, 3)),
        nn.Parameter(torch.randn(())),
    ]
    groups = [{"params": parameters[:2]}, {"params": parameters[2:], "momentum": 0.5}]
    optimizer = NSGDC(groups, lr=10.0, momentum=0.9, clip=clip, **way)
    before = [parameter.detach().clone() for parameter in parameters]
    gradients = [[torch.randn_like(p) * 10.0**power for p in parameters] for power in (0, -3, 3, 0)]
    for after in follow(optimizer, parameters, gradients):
        moved = [(a - b).double().square().sum() for a, b in zip(after, before, strict=True)]
        assert float(torch.stack(moved).sum().sqrt()) == pytest.approx(10.0, rel=1e-6)
        before = after


def test_6_norms_of_many_elements_are_as_exact_as_those_of_few() -> None:
    """Summed up in float32 all at once, four million squares lose more than the fourth digit."""
    torch.manual_seed(2)
    for way in ({}, {"fused": False}):
        weight = nn.Parameter(torch.zeros(2**22))
        gradient = torch.randn(2**22)
        follow(NSGDC([weight], lr=1.0, **way), [weight], [[gradient]])  # type: ignore[arg-type]
        assert float(weight.detach().double().norm()) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("make", [NSGDC, NSGDCVR])
@pytest.mark.parametrize(("scale", "dtype"), [(1e6, torch.float32), (1e-6, torch.float64)])
def test_7_the_size_of_gradients_does_not_matter(
    make: type[NSGDC] | type[NSGDCVR], scale: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(3)
    start = torch.randn(6, 5, dtype=dtype)
    gradients = [[torch.randn(6, 5, dtype=dtype)] for _ in range(12)]
    finals = []
    for factor in (1.0, scale):
        weight = nn.Parameter(start.clone())
        scaled = [[factor * gradient for gradient in step] for step in gradients]
        finals.append(follow(make([weight], lr=0.3, momentum=0.8), [weight], scaled)[-1][0])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(finals[0], finals[1], rtol=tolerance, atol=tolerance)


def test_8_variance_reduction_without_momentum_is_plain_normalization() -> None:
    torch.manual_seed(4)
    start, finals = torch.randn(4, 3).double(), []
    gradients = [[torch.randn(4, 3).double()] for _ in range(6)]
    for make in (NSGDC, NSGDCVR):
        weight = nn.Parameter(start.clone())
        finals.append(follow(make([weight], lr=0.1, momentum=0.0), [weight], gradients)[-1][0])
    assert torch.equal(*finals)


@every_way
def test_groups_move_by_their_own_rates_after_one_normalization(way: dict[str, Any]) -> None:
    one, two = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = NSGDC([{"params": [one], "lr": 1.0}, {"params": [two], "lr": torch.tensor(2.0)}], **way)
    follow(optimizer, [one, two], [[torch.tensor([3.0]), torch.tensor([4.0])]])
    assert [one.item(), two.item()] == pytest.approx([-0.6, -1.6])


@every_way
def test_the_norm_of_each_tensor_is_a_deviation_to_be_asked_for(way: dict[str, Any]) -> None:
    one, two = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = NSGDC([one, two], lr=1.0, momentum=0.5, norm="per_tensor", clip=1.0, **way)
    big, small = torch.tensor([30.0, 40.0]), torch.tensor([0.03, 0.04])
    follow(optimizer, [one, two], [[big, small], [big, -3 * small]])
    assert optimizer.state[one]["momentum_buffer"].tolist() == pytest.approx([0.6, 0.8])
    assert optimizer.state[two]["momentum_buffer"].tolist() == pytest.approx([-0.03, -0.04])
    assert one.tolist() == pytest.approx([-1.2, -1.6], rel=1e-6)
    assert two.tolist() == pytest.approx([0.0, 0.0], abs=3e-7)


@every_way
def test_decoupled_decay_stays_outside_and_coupled_decay_inside_the_normalization(
    way: dict[str, Any],
) -> None:
    outside = nn.Parameter(torch.tensor([10.0, 0.0]))
    follow(NSGDC([outside], lr=0.5, weight_decay=0.2, **way), [outside], [[torch.tensor([0.0, 7.0])]])
    assert outside.tolist() == pytest.approx([9.0, -0.5])
    inside = nn.Parameter(torch.tensor([10.0, 0.0]))
    optimizer = NSGDC([inside], lr=0.5, coupled_weight_decay=0.3, clip=100.0, **way)
    gradient = torch.tensor([0.0, 4.0])
    follow(optimizer, [inside], [[gradient]])
    assert inside.tolist() == pytest.approx([9.7, -0.4])
    assert gradient.tolist() == [0.0, 4.0]
    climbing = nn.Parameter(torch.tensor([-10.0, 0.0]))
    optimizer = NSGDC([climbing], lr=0.5, coupled_weight_decay=0.3, maximize=True, **way)
    follow(optimizer, [climbing], [[torch.tensor([0.0, 4.0])]])
    assert climbing.tolist() == pytest.approx([-9.7, 0.4])


@every_way
@pytest.mark.parametrize(("make", "bad"), [(NSGDC, torch.nan), (NSGDC, -torch.inf), (NSGDCVR, torch.inf)])
def test_a_gradient_that_is_not_finite_stops_the_whole_step(
    make: type[NSGDC] | type[NSGDCVR], way: dict[str, Any], bad: float
) -> None:
    torch.manual_seed(5)
    parameters = [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(2))]
    optimizer = make(parameters, lr=0.1, weight_decay=0.3, clip=1.0, **way)
    good = [[torch.randn(3, 4), torch.randn(2)] for _ in range(3)]
    follow(optimizer, parameters, good[:2])
    before = copy.deepcopy(optimizer.state_dict()), [parameter.detach().clone() for parameter in parameters]
    follow(optimizer, parameters, [[torch.randn(3, 4), torch.tensor([1.0, bad])]])
    after = optimizer.state_dict()
    for key, entry in after["state"].items():
        assert all(torch.equal(value, before[0]["state"][key][name]) for name, value in entry.items())
    assert all(torch.equal(a, b.detach()) for a, b in zip(before[1], parameters, strict=True))
    assert optimizer.nonfinite_skips() == 1
    follow(optimizer, parameters, good[2:])
    assert not torch.equal(before[1][1], parameters[1].detach())
    assert optimizer.nonfinite_skips() == 1


@every_way
def test_a_skipped_first_step_is_no_first_step(way: dict[str, Any]) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = NSGDC([weight], lr=1.0, **way)
    follow(optimizer, [weight], [[torch.tensor([torch.inf, 0.0])], [torch.tensor([0.0, 5.0])]])
    assert optimizer.state[weight]["momentum_buffer"].tolist() == [0.0, 5.0]
    assert float(optimizer.state[weight]["step"]) == 1
    assert weight.tolist() == [0.0, -1.0]


@every_way
def test_a_momentum_of_zero_moves_nothing(way: dict[str, Any]) -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = NSGDC([weight], lr=1.0, momentum=0.5, **way)
    one = torch.tensor([1.0, -2.0, 0.5])
    follow(optimizer, [weight], [[torch.zeros(3)]])
    assert torch.equal(weight, torch.ones(3))
    follow(optimizer, [weight], [[one], [-0.5 * one]])
    assert optimizer.state[weight]["momentum_buffer"].tolist() == [0.0, 0.0, 0.0]
    assert weight.isfinite().all()
    assert optimizer.nonfinite_skips() == 0


def test_half_precision_gradients_that_overflow_are_skipped_and_large_ones_are_not() -> None:
    weight = nn.Parameter(torch.zeros(4096, dtype=torch.float16))
    optimizer = NSGDC([weight], lr=64.0)
    follow(optimizer, [weight], [[torch.full((4096,), 6e4)]])
    assert optimizer.nonfinite_skips() == 0
    assert weight.unique().tolist() == [-1.0]
    follow(optimizer, [weight], [[torch.full((4096,), 7e4)]])
    assert optimizer.nonfinite_skips() == 1


@pytest.mark.parametrize("way", [{"fused": False}, {"foreach": True}, {"capturable": True}], ids=str)
def test_bfloat16_parameters_move_by_lr_too(way: dict[str, Any]) -> None:
    torch.manual_seed(6)
    weight = nn.Parameter(torch.zeros(64, 64, dtype=torch.bfloat16))
    optimizer = NSGDC([weight], lr=1.0, state_dtype="float32", **way)
    follow(optimizer, [weight], [[torch.randn(64, 64)]])
    assert optimizer.state[weight]["momentum_buffer"].dtype == torch.float32
    assert float(weight.detach().double().norm()) == pytest.approx(1.0, rel=1e-3)


def test_strides_of_parameters_are_kept() -> None:
    torch.manual_seed(7)
    start, finals = torch.randn(2, 8, 5, 5).double(), []
    gradients = [torch.randn(2, 8, 5, 5).double() for _ in range(3)]
    for memory_format in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(start.clone(memory_format=memory_format))
        optimizer = NSGDC([weight], lr=0.5)
        assert optimizer.state[weight]["momentum_buffer"].stride() == weight.stride()
        finals.append(follow(optimizer, [weight], [[one] for one in gradients])[-1][0])
    torch.testing.assert_close(finals[0], finals[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1\.0"),
        ({"clip": 0.0}, r"clip must be greater than 0, got 0\.0"),
        ({"lr": -1.0}, r"lr must be 0 or more, got -1\.0"),
        ({"lr": torch.ones(2)}, "lr must be a number or a tensor of one element, got 2 elements"),
        ({"norm": "local"}, "norm must be 'global' or 'per_tensor', got 'local'"),
        ({"norm_dtype": "bfloat16"}, "norm_dtype must be 'float32' or 'float64', got 'bfloat16'"),
        ({"weight_decay": -0.1}, r"weight_decay must be 0 or more, got -0\.1"),
        ({"coupled_weight_decay": -0.1}, r"coupled_weight_decay must be 0 or more, got -0\.1"),
        ({"state_dtype": "float16"}, "state_dtype must be 'param', 'float32' or 'bfloat16', got 'float16'"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NSGDC([nn.Parameter(torch.zeros(2))], **options)


def test_one_norm_and_one_threshold_hold_for_all_groups() -> None:
    one, two = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match="clip must be the same in all parameter groups"):
        NSGDC([{"params": [one], "clip": 1.0}, {"params": [two], "clip": 2.0}])
    optimizer = NSGDC([one])
    with pytest.raises(ValueError, match="norm must be the same in all parameter groups"):
        optimizer.add_param_group({"params": [two], "norm": "per_tensor"})
    assert len(optimizer.param_groups) == 1


def test_state_is_one_copy_of_the_parameters() -> None:
    weight = nn.Parameter(torch.zeros(100, 10))
    assert NSGDC([weight]).state_bytes().total == 4000 + 4
    assert NSGDCVR([weight]).state_bytes().total == 8000 + 4
    assert NSGDCVR([weight], previous="recompute").state_bytes().total == 4000 + 12
