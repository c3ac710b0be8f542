"""Many small weights stacked into one matrix make the steps that each would make by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from graftwork_optim_core import SubspaceOptimizer, param_groups
from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.subspace import optimizer as optimizer_module
from graftwork_optim_core.subspace.batch import WeightBatch
from graftwork_optim_core.subspace.stacked import LARGEST, step_stacked

SHAPES: tuple[tuple[int, ...], ...] = (
    *((3, 16), (1, 16), (7, 16), (2, 16), (4, 5), (6, 5), (16,), (16,), (5,)),
    *((4, 2, 8), (2, 13), (13,), (9, 1)),
)
HOSTS: dict[str, dict[str, Any]] = {
    "adamw": {"host": "adamw"},
    "msgd": {"host": "msgd"},
    "running mean": {"host": "msgd", "host_options": {"dampening": 0.9}},
    "nesterov": {"host": "msgd", "host_options": {"nesterov": True}},
    "sgd": {"host": "msgd", "host_options": {"momentum": 0.0}},
    "adam-mini": {"host": "adam-mini"},
}
every_host = pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
STACKED: dict[str, Any] = {"fused": False}
LOOP: dict[str, Any] = {"fused": False, "foreach": False}


class Stacks:
    """Which batches were stacked, by their weights' shapes."""

    def __init__(self) -> None:
        self.shapes: list[list[tuple[int, ...]]] = []

    def step(self, batch: WeightBatch) -> Scalar:
        self.shapes.append([tuple(weight.parameter.shape) for weight in batch.weights])
        return step_stacked(batch)


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stacks]:
    seen = Stacks()
    monkeypatch.setattr(optimizer_module, "step_stacked", seen.step)
    return seen


def parameters_of(
    dtype: torch.dtype = torch.float64, shapes: Sequence[tuple[int, ...]] = SHAPES
) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(7)
    return [
        nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
        for shape in shapes
    ]


def put_gradients(
    parameters: list[nn.Parameter], step: int, broken: Callable[[int, int], float | None] | None = None
) -> None:
    """Leave gradients that grow by jumps, so that a limiter acts, and are as broken as was asked."""
    generator = torch.Generator().manual_seed(step)
    for place, parameter in enumerate(parameters):
        gradient = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        gradient = (gradient + 0.5) * (1 + 3 * (step % 3))
        fault = None if broken is None else broken(step, place)
        if fault is not None:
            gradient.view(-1)[place % gradient.numel()] = fault
        parameter.grad = gradient.to(parameter.dtype)


def run(
    options: dict[str, Any],
    dtype: torch.dtype = torch.float64,
    steps: int = 12,
    broken: Callable[[int, int], float | None] | None = None,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
) -> tuple[list[nn.Parameter], SubspaceOptimizer]:
    parameters = parameters_of(dtype, shapes)
    optimizer = SubspaceOptimizer(parameters, **{"lr": 1e-2, **options})
    for step in range(steps):
        put_gradients(parameters, step, broken)
        optimizer.step()
    return parameters, optimizer


Run = tuple[list[nn.Parameter], SubspaceOptimizer]


def assert_agree(one: Run, two: Run, tolerance: float = 1e-12) -> None:
    """Compare weights and all of the state, relative to how large each is."""
    for a, b in zip(one[0], two[0], strict=True):
        pairs = [(a.detach(), b.detach())]
        first, second = one[1].state[a], two[1].state[b]
        assert first.keys() == second.keys()
        pairs += [(value, second[key]) for key, value in first.items()]
        for value, other in pairs:
            scale = max(1.0, float(other.abs().max()))
            assert float((value.double() - other.double()).abs().max()) <= tolerance * scale


@every_host
@pytest.mark.parametrize(
    ("level", "limit", "guard"), [(0, 1.01, "auto"), (1, None, "auto"), (2, 1.01, "off"), (3, 1.01, "auto")]
)
def test_the_stack_agrees_with_the_loop(
    stacks: Stacks, host: dict[str, Any], level: int, limit: float | None, guard: str
) -> None:
    options = {
        **host,
        "transform_options": {"level": level, "detail_guard": guard},
        "norm_growth_limit": limit,
        "weight_decay": 0.1,
        "scale": 0.25,
    }
    stacked = run({**options, **STACKED}, steps=7)
    # A width a stack, of matrices, of vectors and of what flattens to it.
    if host["host"] != "adam-mini":
        assert stacks.shapes[:5] == [
            [(3, 16), (1, 16), (7, 16), (2, 16), (16,), (16,), (4, 2, 8)],
            [(4, 5), (6, 5), (5,)],
            [(2, 13), (13,)],
            [(9, 1)],
            stacks.shapes[0],
        ]
    else:
        # Its mean squares are one a row, but as many as columns of a single row.
        assert [(3, 16), (7, 16), (2, 16), (4, 2, 8)] in stacks.shapes
        assert [(1, 16), (16,), (16,)] in stacks.shapes
    stacks.shapes.clear()
    loop = run({**options, **LOOP}, steps=7)
    assert stacks.shapes == []
    assert_agree(stacked, loop)


@every_host
def test_the_limiter_acted_and_held_each_weight_by_its_own_norm(host: dict[str, Any]) -> None:
    limited, free = run({**host, **STACKED, "norm_growth_limit": 1.01}), run({**host, **STACKED})
    differs = [not torch.equal(a, b) for a, b in zip(limited[0], free[0], strict=True)]
    assert all(differs)
    norms = [float(limited[1].state[p]["previous_norm"]) for p in limited[0]]
    assert len(set(norms)) == len(norms)


@every_host
@pytest.mark.parametrize("transform", ["wavelet", "identity", "db2"])
def test_the_stack_agrees_with_the_loop_in_other_transforms(host: dict[str, Any], transform: str) -> None:
    options: dict[str, Any] = {**host, "transform": transform, "norm_growth_limit": 1.01}
    if transform == "db2":
        options |= {"transform": "wavelet", "transform_options": {"basis": "db2", "level": 1}}
    assert_agree(run({**options, **STACKED}), run({**options, **LOOP}))


@every_host
def test_maximize_climbs_and_leaves_the_gradient_alone(host: dict[str, Any]) -> None:
    options = {**host, "norm_growth_limit": 1.01, "weight_decay": 0.1, "maximize": True}
    assert_agree(run({**options, **STACKED}), run({**options, **LOOP}))
    for shapes in (SHAPES, [(3, 16)]):
        parameters = parameters_of(shapes=shapes)
        optimizer = SubspaceOptimizer(parameters, **{**options, **STACKED})
        put_gradients(parameters, 0)
        kept = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
        optimizer.step()
        assert all(
            torch.equal(p.grad, g) for p, g in zip(parameters, kept, strict=True) if p.grad is not None
        )


def broken_sometimes(step: int, place: int) -> float | None:
    """Break the very first gradient of one weight, later ones of two at once, and all of a step."""
    faults = {(0, 2): torch.nan, (3, 0): torch.inf, (3, 6): -torch.inf, (5, 4): torch.nan, (5, 2): torch.inf}
    return torch.nan if step == 8 else faults.get((step, place))


@every_host
@pytest.mark.parametrize("limit", [None, 1.01])
def test_h5_a_weight_that_is_not_finite_stands_still_among_the_others(
    host: dict[str, Any], limit: float | None
) -> None:
    options = {**host, "norm_growth_limit": limit, "weight_decay": 0.1}
    stacked, loop = (run({**options, **mode}, broken=broken_sometimes) for mode in (STACKED, LOOP))
    assert_agree(stacked, loop)
    assert stacked[1].nonfinite_skips() == loop[1].nonfinite_skips() == 5 + len(SHAPES)
    steps = [int(stacked[1].state[p]["step"]) for p in stacked[0]]
    assert steps == [10, 11, 9, 11, 10, 11, 10, *[11] * 6]


@every_host
def test_h5_the_state_of_a_skipped_weight_is_untouched_to_the_bit(host: dict[str, Any]) -> None:
    options = {**host, **STACKED, "norm_growth_limit": 1.01, "weight_decay": 0.1}
    for dtype, state_dtype, fault in (
        (torch.float64, "param", torch.nan),
        (torch.bfloat16, "param", torch.inf),
        (torch.bfloat16, "float32", -torch.inf),
    ):
        parameters, optimizer = run({**options, "state_dtype": state_dtype}, dtype, steps=4)
        before = copy.deepcopy([(p.detach(), optimizer.state[p]) for p in parameters])
        put_gradients(parameters, 4, lambda step, place, bad=fault: bad if place in (1, 7) else None)
        optimizer.step()
        for place, (parameter, (values, state)) in enumerate(zip(parameters, before, strict=True)):
            stood = torch.equal(parameter, values)
            assert stood == (place in (1, 7))
            if stood:
                assert all(torch.equal(optimizer.state[parameter][key], old) for key, old in state.items())


@every_host
def test_a_gradient_whose_square_overflows_is_skipped(host: dict[str, Any]) -> None:
    parameters = parameters_of(torch.float32)
    optimizer = SubspaceOptimizer(parameters, **host, **STACKED, norm_growth_limit=1.01)
    before = parameters[0].detach().clone()
    put_gradients(parameters, 0, lambda step, place: 1e30 if place == 0 else None)
    optimizer.step()
    assert torch.equal(parameters[0], before)
    assert optimizer.nonfinite_skips() == 1
    assert all(torch.isfinite(value).all() for value in optimizer.state[parameters[0]].values())


def test_h2_a_first_gradient_of_zeros_does_not_freeze_one_weight_of_a_stack() -> None:
    def zeros_at_first(parameters: list[nn.Parameter], step: int) -> None:
        put_gradients(parameters, step)
        if step < 2 and parameters[0].grad is not None:
            parameters[0].grad.zero_()

    runs = []
    for mode in (STACKED, LOOP):
        parameters = parameters_of()
        optimizer = SubspaceOptimizer(parameters, lr=1e-2, norm_growth_limit=1.01, **mode)
        for step in range(6):
            zeros_at_first(parameters, step)
            optimizer.step()
            if step < 2:
                assert float(optimizer.state[parameters[0]]["previous_norm"]) == 0.0
        assert (parameters[0] - parameters_of()[0]).abs().max() > 1e-3
        runs.append((parameters, optimizer))
    assert_agree(*runs)


@every_host
@pytest.mark.parametrize("state_dtype", ["param", "float32"])
def test_bfloat16_weights_agree_within_one_rounding(host: dict[str, Any], state_dtype: str) -> None:
    options = {**host, "state_dtype": state_dtype, "norm_growth_limit": 1.01, "weight_decay": 0.1, "lr": 0.1}
    # One step from the same weights: afterwards one rounding leads to others.
    stacked, loop = (run({**options, **mode}, torch.bfloat16, steps=1) for mode in (STACKED, LOOP))
    for one, two in zip(stacked[0], loop[0], strict=True):
        assert one.dtype == torch.bfloat16
        step = 2.0**-8 * two.abs().clamp(min=2.0**-6)
        assert ((one.float() - two.float()).abs() <= 2 * step).all()
        expected = torch.float32 if state_dtype == "float32" else torch.bfloat16
        slots = [value for key, value in stacked[1].state[one].items() if key.startswith(("exp", "mom"))]
        assert all(value.dtype == expected for value in slots)
    many = run({**options, **STACKED}, torch.bfloat16), run({**options, **LOOP}, torch.bfloat16)
    for one, two in zip(many[0][0], many[1][0], strict=True):
        assert (one.float() - two.float()).abs().max() < 0.05 * two.float().abs().max()


@every_host
def test_p6_resuming_at_every_step_is_exact(host: dict[str, Any]) -> None:
    options: dict[str, Any] = {**host, **STACKED, "norm_growth_limit": 1.01, "weight_decay": 0.1}
    parameters = parameters_of(torch.float32)
    optimizer = SubspaceOptimizer(parameters, lr=1e-2, **options)
    snapshots = []
    for step in range(8):
        snapshots.append(([p.detach().clone() for p in parameters], copy.deepcopy(optimizer.state_dict())))
        put_gradients(parameters, step, broken_sometimes)
        optimizer.step()
    for first, (values, state) in enumerate(snapshots):
        resumed = [nn.Parameter(value) for value in values]
        resumed_optimizer = SubspaceOptimizer(resumed, lr=3.0, **options)
        resumed_optimizer.load_state_dict(state)
        for step in range(first, 8):
            put_gradients(resumed, step, broken_sometimes)
            resumed_optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(resumed, parameters, strict=True))
        for a, b in zip(resumed, parameters, strict=True):
            mine, its = resumed_optimizer.state[a], optimizer.state[b]
            assert all(torch.equal(value, its[key]) for key, value in mine.items())


@every_host
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_weight_steps_the_same_alone_in_its_stack_and_among_many(
    host: dict[str, Any], dtype: torch.dtype
) -> None:
    """To the bit: per-parameter mode and a parameter without a gradient change the stacks."""
    options: dict[str, Any] = {**host, **STACKED, "norm_growth_limit": 1.01, "weight_decay": 0.1, "lr": 1e-2}
    together = run(options, dtype)
    apart = parameters_of(dtype)
    optimizer = SubspaceOptimizer(apart, **options)
    for step in range(12):
        put_gradients(apart, step)
        for parameter in apart:
            optimizer.step_parameter(parameter)
    assert all(torch.equal(a, b) for a, b in zip(together[0], apart, strict=True))


@every_host
def test_weights_without_a_gradient_are_left_out(host: dict[str, Any]) -> None:
    options: dict[str, Any] = {**host, "norm_growth_limit": 1.01, "weight_decay": 0.1}
    runs = []
    for mode in (STACKED, LOOP):
        parameters = parameters_of()
        optimizer = SubspaceOptimizer(parameters, lr=1e-2, **options, **mode)
        for step in range(9):
            put_gradients(parameters, step)
            for place, parameter in enumerate(parameters):
                if (place + step) % 3 == 0:
                    parameter.grad = None
            optimizer.step()
        assert [int(optimizer.state[p]["step"]) for p in parameters] == [6] * len(parameters)
        runs.append((parameters, optimizer))
    assert_agree(*runs)


def test_strided_weights_are_written_back() -> None:
    shape, options = (6, 3, 2, 2), {"lr": 1e-2, "norm_growth_limit": 1.01, "weight_decay": 0.1}
    values = torch.randn(shape, dtype=torch.float64)
    gradients = [torch.randn(shape, dtype=torch.float64) for _ in range(4)]
    ends = []
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(values.clone().to(memory_format=layout))
        transposed = nn.Parameter(values[:, :, 0, 0].T.clone().T)
        optimizer = SubspaceOptimizer([weight, transposed], **options, **STACKED)
        for gradient in gradients:
            weight.grad = gradient.clone().to(memory_format=layout)
            transposed.grad = gradient[:, :, 0, 0].clone()
            optimizer.step()
        assert not torch.equal(transposed, values[:, :, 0, 0])
        ends.append(weight.detach())
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], values)


def test_a_tensor_learning_rate_is_read_at_every_step() -> None:
    runs = []
    for mode in (STACKED, LOOP):
        parameters, rate = parameters_of(), torch.tensor(1e-2)
        optimizer = SubspaceOptimizer(parameters, rate, norm_growth_limit=1.01, weight_decay=0.1, **mode)
        for step in range(5):
            rate.fill_(1e-2 * (step + 1))
            put_gradients(parameters, step)
            optimizer.step()
        runs.append((parameters, optimizer))
    assert_agree(*runs)


def test_only_small_weights_are_stacked_and_groups_never_mix(stacks: Stacks) -> None:
    large, edge = nn.Parameter(torch.zeros(2, LARGEST)), nn.Parameter(torch.zeros(LARGEST // 64, 64))
    model = nn.ModuleDict({"mlp": nn.Linear(64, 4), "norm": nn.LayerNorm(64)})
    groups = param_groups(model)
    optimizer = SubspaceOptimizer(
        [*groups, {"params": [("large", large), ("edge", edge)], "lr": 1e-3}], **STACKED
    )
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert sorted(stacks.shapes) == [[(4,)], [(4, 64)], [(64,), (64,)], [(256, 64)]]


def test_weights_of_two_dtypes_make_two_stacks(stacks: Stacks) -> None:
    parameters = [nn.Parameter(torch.zeros(2, 8, dtype=dtype)) for dtype in (torch.float32, torch.float64)]
    optimizer = SubspaceOptimizer(parameters, **STACKED)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert stacks.shapes == [[(2, 8)], [(2, 8)]]


@pytest.mark.parametrize("host", ["muon", "adafactor", "adam8bit"])
def test_hosts_that_look_at_a_whole_weight_are_not_stacked(stacks: Stacks, host: str) -> None:
    shapes = [(8, 16), (4, 16)]
    parameters = parameters_of(torch.float32, shapes)
    optimizer = SubspaceOptimizer(parameters, host=host, **STACKED)
    put_gradients(parameters, 0)
    optimizer.step()
    assert stacks.shapes == []
    assert all(
        not torch.equal(a, b) for a, b in zip(parameters, parameters_of(torch.float32, shapes), strict=True)
    )


def test_a_stack_is_not_larger_than_its_weights_by_a_reference_to_one() -> None:
    """The weights' own storages are written, never replaced."""
    parameters = parameters_of()
    optimizer = SubspaceOptimizer(parameters, **STACKED)
    places = [p.data_ptr() for p in parameters]
    kept = [value.data_ptr() for p in parameters for value in optimizer.state[p].values()]
    put_gradients(parameters, 0)
    optimizer.step()
    assert [p.data_ptr() for p in parameters] == places
    assert [value.data_ptr() for p in parameters for value in optimizer.state[p].values()] == kept
    assert optimizer.state_bytes().total == sum(
        value.numel() * value.element_size() for p in parameters for value in optimizer.state[p].values()
    )
