"""What every update host must keep, whatever its equations: all ways of making a step agree, and resume.

Reached from here: ``subspace/host.py``, ``subspace/identity.py``.
"""

from __future__ import annotations

import copy
import io
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core import SubspaceOptimizer

HOSTS: dict[str, tuple[str, dict[str, Any]]] = {
    "adamw": ("adamw", {}),
    "msgd": ("msgd", {"dampening": 0.5}),
    "adam-mini": ("adam-mini", {}),
    "adam8bit": ("adam8bit", {}),
    "adafactor": ("adafactor", {}),
    "adafactor-mean": ("adafactor", {"beta1": 0.9, "scale_parameter": False}),
    "muon": ("muon", {}),
    "muon-coarse": ("muon", {"orthogonalize": "coarse", "newton_schulz_dtype": "float32"}),
}
MODES: list[dict[str, Any]] = [{}, {"foreach": True}, {"foreach": False}, {"capturable": True}]
# The vector is as wide as a matrix, the coarse large one has more than 4096 elements, that of the last is one
# column under the wavelet transform.
SHAPES = [(24, 720), (20,), (6, 20), (1, 9), (4, 3, 3), (5, 3), ()]

every = pytest.mark.parametrize("name", HOSTS)
both = pytest.mark.parametrize("transform", ["identity", "wavelet"])
# Every host in every mode; which transform it is beside matters to none of the tests that take turns.
each_mode = pytest.mark.parametrize(
    ("modes", "transform"), list(zip(MODES, ["identity", "wavelet"] * 2, strict=True)), ids=str
)


def start(seed: int = 0, shapes: list[tuple[int, ...]] = SHAPES) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]


def make(parameters: list[nn.Parameter], name: str, transform: str, **options: Any) -> SubspaceOptimizer:
    # The kernels' tests compare them with these steps.
    host, own = HOSTS[name]
    return SubspaceOptimizer(
        parameters,
        **{"lr": 0.05, "fused": False, **options},
        host=host,
        host_options=own,
        transform=transform,
    )


def give_gradients(parameters: list[nn.Parameter], step: int, sign: float = 1.0) -> None:
    for parameter, gradient in zip(parameters, start(100 + step), strict=True):
        parameter.grad = gradient.detach() * sign * (1 + step % 3)


def run(
    optimizer: SubspaceOptimizer, parameters: list[nn.Parameter], first: int, last: int, sign: float = 1.0
) -> None:
    for step in range(first, last):
        give_gradients(parameters, step, sign)
        optimizer.step()


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def assert_equal(one: list[nn.Parameter], two: list[nn.Parameter]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@every
@both
def test_all_modes_agree(name: str, transform: str) -> None:
    finals, optimizers = [], []
    for modes in MODES:
        parameters = start()
        optimizers.append(make(parameters, name, transform, weight_decay=0.1, **modes))
        run(optimizers[-1], parameters, 0, 6)
        finals.append(parameters)
    for parameters, optimizer in zip(finals[1:], optimizers[1:], strict=True):
        for one, two in zip(finals[0], parameters, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-13)
            expected, state = optimizers[0].state[one], optimizer.state[two]
            assert all(torch.equal(state[k], expected[k]) for k in state if state[k].dtype == torch.uint8)


@every
@pytest.mark.parametrize(
    ("transform", "dtype"), [("identity", torch.bfloat16), ("wavelet", torch.float32)], ids=str
)
def test_p6_resuming_at_every_step_is_exact(name: str, transform: str, dtype: torch.dtype) -> None:
    # No host does anything at one step that it does not do at the next, but at the first.
    last = 4
    parameters = [nn.Parameter(parameter.detach().to(dtype)) for parameter in start()]
    optimizer = make(parameters, name, transform)
    snapshots = []
    for step in range(last):
        snapshots.append((copy.deepcopy(parameters), through_a_file(optimizer.state_dict())))
        give_gradients_like(parameters, step)
        optimizer.step()
    for step, (resumed, state) in enumerate(snapshots):
        resumed_optimizer = make(resumed, name, transform, lr=3.0)
        resumed_optimizer.load_state_dict(state)
        for later in range(step, last):
            give_gradients_like(resumed, later)
            resumed_optimizer.step()
        assert_equal(resumed, parameters)


def give_gradients_like(parameters: list[nn.Parameter], step: int) -> None:
    for parameter, gradient in zip(parameters, start(100 + step), strict=True):
        parameter.grad = gradient.detach().to(parameter.dtype)


@every
@each_mode
def test_maximize_is_descending_the_negated_gradient(
    name: str, transform: str, modes: dict[str, bool]
) -> None:
    descending, climbing = start(), start()
    run(make(descending, name, transform, weight_decay=0.1, **modes), descending, 0, 3)
    run(make(climbing, name, transform, weight_decay=0.1, maximize=True, **modes), climbing, 0, 3, sign=-1.0)
    assert_equal(descending, climbing)


@every
@each_mode
def test_zero_gradients_move_nothing_and_keep_all_finite(
    name: str, transform: str, modes: dict[str, bool]
) -> None:
    parameters = start()
    optimizer = make(parameters, name, transform, **modes)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    assert_equal(parameters, start())
    run(optimizer, parameters, 2, 4)
    assert all(bool(parameter.isfinite().all()) for parameter in parameters)
    assert not any(torch.equal(one, two) for one, two in zip(parameters, start(), strict=True))
    for state in optimizer.state.values():
        assert all(bool(tensor.isfinite().all()) for tensor in state.values())


@every
@pytest.mark.parametrize(
    ("modes", "transform", "at_first"),
    [
        ({}, "identity", True),
        ({"foreach": True}, "wavelet", False),
        ({"foreach": False}, "identity", False),
        ({"capturable": True}, "wavelet", True),
        ({"capturable": True}, "identity", False),
    ],
    ids=str,
)
def test_h5_a_gradient_that_is_not_finite_changes_nothing(
    name: str, transform: str, modes: dict[str, bool], at_first: bool
) -> None:
    parameters, others = start(), start()
    optimizer = make(parameters, name, transform, weight_decay=0.1, **modes)
    undisturbed = make(others, name, transform, weight_decay=0.1, **modes)
    if not at_first:
        run(optimizer, parameters, 0, 2)
        run(undisturbed, others, 0, 2)
    before = copy.deepcopy((parameters[::2], [optimizer.state[p] for p in parameters[::2]]))
    give_gradients(parameters, 2)
    for parameter, value in zip(parameters[::2], [math.nan, math.inf, -math.inf, math.nan], strict=True):
        assert parameter.grad is not None
        parameter.grad.view(-1)[-1] = value
    optimizer.step()
    give_gradients(others, 2)
    undisturbed.step()
    assert_equal(before[0], parameters[::2])
    for parameter, state in zip(parameters[::2], before[1], strict=True):
        assert all(torch.equal(optimizer.state[parameter][key], old) for key, old in state.items())
    for one, two in zip(parameters[1::2], others[1::2], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-13)
    assert optimizer.nonfinite_skips() == 4


@every
@pytest.mark.parametrize(("transform", "capturable"), [("identity", True), ("wavelet", False)])
def test_a_tensor_is_as_good_a_learning_rate(name: str, transform: str, capturable: bool) -> None:
    finals = []
    for lr in (0.05, torch.tensor(0.05, dtype=torch.float64), torch.tensor([0.05], dtype=torch.float64)):
        parameters = start()
        optimizer = make(parameters, name, transform, lr=lr, weight_decay=0.1, capturable=capturable)
        run(optimizer, parameters, 0, 4)
        finals.append(parameters)
    for parameters in finals[1:]:
        for one, two in zip(finals[0], parameters, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-13)


@every
@pytest.mark.parametrize(
    ("transform", "state_dtype"),
    [("identity", "param"), ("identity", "bfloat16"), ("wavelet", "float32"), ("wavelet", "bfloat16")],
)
def test_p8_predicted_bytes_are_the_allocated_bytes(name: str, transform: str, state_dtype: str) -> None:
    parameters = start()
    optimizer = make(parameters, name, transform, state_dtype=state_dtype)
    predicted = [optimizer.predicted_state_bytes(p, optimizer.param_groups[0]) for p in parameters]
    run(optimizer, parameters, 0, 1)
    held = [sum(t.numel() * t.element_size() for t in optimizer.state[p].values()) for p in parameters]
    assert predicted == held
    assert optimizer.state_bytes().total == sum(held)


@pytest.mark.parametrize("name", ["adamw", "msgd", "adam-mini", "adam8bit"])
@both
def test_runs_of_rows_are_the_whole_weight(name: str, transform: str) -> None:
    finals = []
    for foreach in (None, True):
        (parameter,) = start(shapes=[(1100, 500)])
        optimizer = make([parameter], name, transform, weight_decay=0.1, foreach=foreach)
        for step in range(3):
            parameter.grad = start(step + 1, [(1100, 500)])[0].detach()
            optimizer.step()
        finals.append(parameter)
    torch.testing.assert_close(*finals, rtol=1e-11, atol=1e-13)


@every
@both
def test_the_growth_limit_bounds_the_measured_norm(name: str, transform: str) -> None:
    finals = []
    for modes in MODES:
        parameters = start()
        optimizer = make(parameters, name, transform, norm_growth_limit=1.01, **modes)
        remembered = []
        for step in range(4):
            give_gradients(parameters, step, sign=10.0**step)
            optimizer.step()
            remembered.append(
                torch.stack([optimizer.state[parameter]["previous_norm"] for parameter in parameters[:1]])
            )
        for former, later in pairwise(remembered):
            assert bool((later <= 1.01 * former + 1e-7).all())
        finals.append(parameters)
    for parameters in finals[1:]:
        for one, two in zip(finals[0], parameters, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-13)


def test_every_registered_host_is_here() -> None:
    from graftwork_optim_core.plugin import HOSTS as KIND
    from graftwork_optim_core.plugin import graftwork_components

    registered = {component.name for component in graftwork_components() if component.kind == KIND}
    assert registered == {host for host, _ in HOSTS.values()}


def test_a_weight_is_stepped_the_same_beside_others() -> None:
    """Weights of other shapes in the batch must not change how one's slots are read."""
    for name in HOSTS:
        together = start()
        run(make(together, name, "identity", foreach=True), together, 0, 3)
        for place, parameter in enumerate(start()):
            optimizer = make([parameter], name, "identity", foreach=True)
            for step in range(3):
                gradient: Tensor = start(100 + step)[place].detach() * (1 + step % 3)
                parameter.grad = gradient
                optimizer.step()
            torch.testing.assert_close(parameter, together[place], rtol=1e-11, atol=1e-13)
