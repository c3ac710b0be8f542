"""What a zeroth-order optimizer promises as an optimizer: its state, its messages, and what it does when
something goes wrong.

Reached from here: ``zeroth_order/options.py``, ``zeroth_order/selection.py``, ``zeroth_order/update.py``,
``zeroth_order/weights.py``.
"""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from graftwork_optim_core.lozo import LOZO, LOZOM
from graftwork_optim_core.mezo import MeZO
from graftwork_optim_core.zeroth_order import sites
from graftwork_optim_core.zeroth_order.optimizer import ZerothOrderOptimizer

Make = Callable[..., Any]
BACKENDS: dict[str, Make] = {
    name: partial(LOZO, interval=3, backend=name) for name in ("inplace", "sidepath", "dual")
}
OPTIMIZERS: dict[str, Make] = {
    **BACKENDS,
    **{f"{name}-momentum": partial(make, momentum=0.8, weight_decay=0.5) for name, make in BACKENDS.items()},
    "probes": partial(LOZOM, interval=5, backend="dual", probes=2),
    "mezo": partial(MeZO, probes=2),
    "mezo-momentum": partial(MeZO, momentum=0.7, weight_decay=0.5),
}
every = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
every_backend = pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
STEPS = 8


@pytest.fixture(autouse=True)
def small_weights_are_streamed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "LARGEST_HELD", 100)


class Small(nn.Module):
    """Matrices, vectors, a narrow table and one that torch's attention uses without a side path."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 12)
        self.up, self.norm = nn.Linear(12, 14), nn.LayerNorm(14)
        self.down = nn.Linear(14, 11, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        output: Tensor = self.down(torch.tanh(self.norm(self.up(self.table(ids)))))
        return output


def small(dtype: torch.dtype = torch.float32) -> Small:
    torch.manual_seed(3)
    return Small().to(dtype)


def loss_of(model: nn.Module, step: int) -> Tensor:
    ids = torch.randint(0, 7, (3 + step % 2, 5), generator=torch.Generator().manual_seed(step))
    return (model(ids).float() - 0.1 * step).square().mean()


def train(model: nn.Module, optimizer: Any, first: int, last: int) -> list[float]:
    return [float(optimizer.step(lambda step=step: loss_of(model, step))) for step in range(first, last)]


def begin(make: Make, dtype: torch.dtype = torch.float32, **options: Any) -> tuple[Small, Any]:
    model = small(dtype)
    optimizer = make(model.named_parameters(), **{"lr": 1e-2, **options})
    optimizer.attach(model)
    return model, optimizer


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def assert_equal(one: list[Tensor], two: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


# State.


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_10_resuming_at_every_step_is_exact(make: Make, dtype: torch.dtype) -> None:
    model, optimizer = begin(make, dtype)
    snapshots = []
    for step in range(STEPS):
        snapshots.append((copy.deepcopy(model.state_dict()), through_a_file(optimizer.state_dict())))
        train(model, optimizer, step, step + 1)
    optimizer.merge()
    for step, (model_state, optimizer_state) in enumerate(snapshots):
        resumed, again = begin(make, dtype, lr=5.0)
        resumed.load_state_dict(model_state)
        again.load_state_dict(optimizer_state)
        train(resumed, again, step, STEPS)
        again.merge()
        assert_equal(weights(resumed), weights(model))


@every
def test_10_resuming_by_names_is_exact(make: Make) -> None:
    model, optimizer = begin(make)
    train(model, optimizer, 0, 4)
    model_state = copy.deepcopy(model.state_dict())
    state = through_a_file(get_optimizer_state_dict(model, optimizer))
    train(model, optimizer, 4, STEPS)
    resumed, again = begin(make, lr=5.0)
    resumed.load_state_dict(model_state)
    set_optimizer_state_dict(resumed, again, state)
    train(resumed, again, 4, STEPS)
    assert_equal(weights(resumed), weights(model))


@every
def test_taking_a_state_dict_changes_nothing(make: Make) -> None:
    model, optimizer = begin(make)
    undisturbed, other = begin(make)
    for step in range(STEPS):
        train(undisturbed, other, step, step + 1)
        before, generator = weights(model), torch.get_rng_state()
        optimizer.state_dict()
        get_optimizer_state_dict(model, optimizer)
        assert_equal(weights(model), before)
        assert torch.equal(torch.get_rng_state(), generator)
        train(model, optimizer, step, step + 1)
    assert_equal(weights(model), weights(undisturbed))


@every
def test_all_state_is_there_before_the_first_step_and_stays_in_place(make: Make) -> None:
    model, optimizer = begin(make)
    before = {
        p: {key: (t, t.shape, t.dtype) for key, t in state.items()} for p, state in optimizer.state.items()
    }
    assert len(before) == len(list(model.parameters()))
    bytes_before = optimizer.state_bytes()
    train(model, optimizer, 0, 5)
    for parameter, state in optimizer.state.items():
        assert {key: (t, t.shape, t.dtype) for key, t in state.items()} == before[parameter]
    assert optimizer.state_bytes() == bytes_before


@every
def test_a_deep_copy_goes_on_by_itself(make: Make) -> None:
    model, optimizer = begin(make)
    train(model, optimizer, 0, 4)
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    train(model, optimizer, 4, STEPS)
    expected = weights(model)
    train(twin, twin_optimizer, 4, STEPS)
    assert_equal(weights(twin), expected)
    assert_equal(weights(model), expected)


def test_a_state_of_another_rank_is_refused_and_changes_nothing() -> None:
    _, other = begin(LOZO, rank=1)
    model, optimizer = begin(partial(LOZOM, rank=2))
    train(model, optimizer, 0, 2)
    before = copy.deepcopy(optimizer.state_dict())
    state = other.state_dict()
    state["param_groups"][0]["rank"] = 2
    with pytest.raises(ValueError, match=r"the saved '\w+' of parameter 'table.weight' has shape .* needs"):
        optimizer.load_state_dict(state)
    state["param_groups"][0]["rank"] = 0.5
    with pytest.raises(ValueError, match="rank must be"):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for key, held in before["state"].items():
        assert all(torch.equal(value, after["state"][key][name]) for name, value in held.items())


def test_a_group_that_is_added_later_starts_at_its_own_first_step() -> None:
    model, later = small(), nn.Linear(11, 16)
    optimizer = LOZOM(model.named_parameters(), lr=1e-2, interval=3, backend="sidepath")

    def closure() -> Tensor:
        return later(model(torch.arange(5))).square().mean()

    for _ in range(4):
        optimizer.step(closure)
    moved = optimizer.state[model.up.weight]["moved"].clone()
    optimizer.add_param_group(
        {"params": [("later.weight", later.weight), ("later.bias", later.bias)], "lr": 1e-3}
    )
    assert torch.equal(optimizer.state[model.up.weight]["moved"], moved)
    assert moved.count_nonzero()
    before = later.bias.detach().clone()
    optimizer.step(closure)
    optimizer.merge()
    assert not torch.equal(later.bias, before)
    assert float(optimizer.state[later.weight]["step"]) == 1
    assert float(optimizer.state[model.up.weight]["step"]) == 5
    # N = c z at its first step, and X <- X - lr N.
    torch.testing.assert_close(later.bias, before - 1e-3 * optimizer.state[later.bias]["momentum"])


def test_a_group_that_is_refused_leaves_the_optimizer_as_it_was() -> None:
    model, optimizer = begin(BACKENDS["sidepath"])
    train(model, optimizer, 0, 2)
    with pytest.raises(ValueError, match="momentum must be"):
        optimizer.add_param_group({"params": [("new", nn.Parameter(torch.ones(3)))], "momentum": 1.0})
    assert len(optimizer.param_groups) == 1
    train(model, optimizer, 2, 4)


# Options.


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"lr": -1.0}, "lr must be 0 or more, got -1.0"),
        ({"lr": torch.ones(2)}, "lr must be a number or a tensor of one element, got 2 elements"),
        ({"rank": 0}, "rank must be 1 or more, got 0; MeZO has directions of full rank"),
        ({"rank": 1.5}, "rank must be"),
        ({"interval": 0}, "interval must be"),
        ({"interval": 2.5}, "interval must be"),
        ({"eps": 0.0}, "eps must be"),
        ({"eps": float("inf")}, "eps must be"),
        ({"momentum": 1.0}, "momentum must be in [0, 1), got 1.0"),
        ({"momentum": -0.1}, "momentum must be in [0, 1), got -0.1"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more, got -0.1"),
        ({"scale": "code"}, "scale must be"),
        ({"probes": 0}, "probes must be"),
        ({"probes": 256}, "probes must be"),
        ({"backend": "triple"}, "backend must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 1 << 64}, "seed must be"),
        ({"accumulate_dtype": "bfloat16"}, "accumulate_dtype must be"),
        ({"data_parallel": "sum"}, "data_parallel must be"),
        ({"check_every": -1}, "check_every must be"),
        (
            {"additive": True, "backend": "inplace"},
            "backend must be 'auto', 'sidepath' or 'dual' for additive weights, got 'inplace'",
        ),
    ],
    ids=str,
)
def test_an_option_out_of_its_range_is_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        LOZO([nn.Parameter(torch.zeros(16, 12))], **option)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("interval", (2, 3)),
        ("eps", (1e-3, 1e-2)),
        ("probes", (1, 2)),
        ("backend", ("inplace", "sidepath")),
        ("seed", (0, 1)),
        ("stochastic_rounding", (False, True)),
    ],
)
def test_what_all_groups_share_is_the_same_in_all(option: str, values: tuple[Any, Any]) -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(16, 12))], option: value} for value in values]
    message = (
        f"{option} must be the same in all parameter groups, since all weights are perturbed together; got"
    )
    with pytest.raises(ValueError, match=message):
        LOZO(groups, **{option: values[0]})


def test_what_groups_do_not_share_may_differ() -> None:
    one, two = nn.Parameter(torch.zeros(16, 12)), nn.Parameter(torch.zeros(16, 12))
    groups = [{"params": [one], "rank": 1}, {"params": [two], "rank": 2, "lr": 0.0, "momentum": 0.5}]
    optimizer = LOZO(groups, lr=1e-2, backend="inplace")
    optimizer.step(lambda: one.sum() + two.sum())
    assert torch.linalg.matrix_rank(one.detach()) == 1
    assert two.abs().max() < 1e-8
    assert optimizer.state[two]["momentum"].shape == (16, 2)
    assert "momentum" not in optimizer.state[one]


def test_weights_that_cannot_be_perturbed_are_named() -> None:
    cases: list[tuple[Any, str]] = [
        (nn.Parameter(torch.zeros(4, dtype=torch.complex64)), "'w' must be of a real floating-point dtype"),
        (nn.Parameter(torch.zeros(4, dtype=torch.int8), requires_grad=False), "additive=True"),
        (nn.Parameter(torch.zeros(4, 5).t()), "'w' must have contiguous rows, got strides"),
    ]
    cases[1][0].requires_grad = False
    for parameter, message in cases:
        if parameter.requires_grad:
            with pytest.raises(ValueError, match=message):
                LOZO([("w", parameter)])
    with pytest.raises(
        ValueError, match="parameter 'w' must be a matrix to be perturbed without being written"
    ):
        LOZO([("w", nn.Parameter(torch.zeros(4)))], additive=True)


# Calling it.


def test_a_step_needs_a_closure() -> None:
    model, optimizer = begin(LOZO)
    before = weights(model)
    with pytest.raises(
        RuntimeError, match=r"LOZO.step needs a closure that returns the loss .* without a backward"
    ):
        optimizer.step()
    assert_equal(weights(model), before)


@every
def test_a_closure_that_returns_a_vector_is_refused(make: Make) -> None:
    model, optimizer = begin(make)
    with pytest.raises(ValueError, match=r"the closure must return one number, got a tensor of shape \(2,\)"):
        optimizer.step(lambda: torch.ones(2))
    train(model, optimizer, 0, 2)


def test_a_closure_may_return_a_number_or_a_tensor_of_one() -> None:
    for convert in (float, lambda loss: loss.reshape(1, 1), lambda loss: loss.bfloat16(), Tensor.double):
        model, optimizer = begin(LOZO)
        loss = optimizer.step(lambda model=model, convert=convert: convert(loss_of(model, 0)))
        assert loss.shape == ()
        assert float(loss) == pytest.approx(float(loss_of(small(), 0)), rel=2e-2)


def test_the_loss_returned_is_the_mean_of_both_ends() -> None:
    weight = nn.Parameter(torch.zeros(16, 12, dtype=torch.float64))
    seen = []
    optimizer = LOZO([weight], backend="inplace", probes=3)
    loss = optimizer.step(lambda: seen.append(weight.square().sum() + 1) or seen[-1])
    assert len(seen) == 6
    assert float(loss) == pytest.approx(float(torch.stack(seen).mean()))


@every
def test_no_gradient_is_read_written_or_recorded(make: Make) -> None:
    model, optimizer = begin(make)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    marks = [parameter.grad for parameter in model.parameters()]

    def closure() -> Tensor:
        loss = loss_of(model, 0)
        assert not loss.requires_grad
        return loss

    optimizer.step(closure)
    assert [parameter.grad for parameter in model.parameters()] == marks
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@every_backend
def test_evaluation_shows_the_movement_and_writes_nothing(make: Make) -> None:
    model, optimizer = begin(partial(make, weight_decay=0.5))
    optimizer.eval()
    start = loss_of(model, 0)
    optimizer.train()
    torch.testing.assert_close(start, loss_of(model, 0))
    train(model, optimizer, 0, 5)
    before = weights(model)
    optimizer.eval()
    optimizer.eval()
    seen = loss_of(model, 0)
    with pytest.raises(RuntimeError, match=r"call LOZO.train\(\) before step\(\); eval\(\) was called"):
        train(model, optimizer, 5, 6)
    optimizer.train()
    optimizer.train()
    assert_equal(weights(model), before)
    optimizer.merge()
    torch.testing.assert_close(seen, loss_of(model, 0), rtol=1e-5, atol=1e-6)
    train(model, optimizer, 5, 6)


@every_backend
def test_evaluation_shows_the_movement_to_functions_that_have_no_side_path_too(make: Make) -> None:
    model, optimizer = begin(partial(make, weight_decay=0.5), torch.float64)
    train(model, optimizer, 0, 5)
    before = weights(model)
    optimizer.eval()
    seen = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    added = [(1 * parameter).sum() for parameter in model.parameters()]
    optimizer.train()
    assert_equal(weights(model), before)
    optimizer.merge()
    torch.testing.assert_close(seen, torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(added, [parameter.detach().sum() for parameter in model.parameters()])


@every_backend
def test_merging_at_any_time_changes_nothing_but_rounding(make: Make) -> None:
    make = partial(make, momentum=0.5, weight_decay=0.5)
    model, optimizer = begin(make, torch.float64)
    merged, other = begin(make, torch.float64)
    for step in range(STEPS):
        train(model, optimizer, step, step + 1)
        train(merged, other, step, step + 1)
        other.merge()
        other.merge()
    optimizer.merge()
    for one, two in zip(weights(model), weights(merged), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


class WithAttention(nn.Module):
    """Some weights with a side path and some without."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.head = nn.MultiheadAttention(12, 2), nn.Linear(12, 11)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.head(self.attend(inputs, inputs, inputs, need_weights=False)[0])
        return output


def test_decay_is_the_same_for_weights_perturbed_in_place_beside_others() -> None:
    finals = []
    for backend in ("inplace", "sidepath"):
        torch.manual_seed(0)
        model = WithAttention().double()
        inputs = torch.randn(3, 2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        optimizer = LOZO(model.named_parameters(), lr=1e-2, weight_decay=2.0, interval=3, backend=backend)
        for _ in range(8):
            optimizer.step(lambda m=model, x=inputs: m(x).square().mean())
        assert optimizer.evaluation.backend == backend
        optimizer.merge()
        finals.append(weights(model))
    for one, two in zip(*finals, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)


def test_a_model_with_weights_in_place_is_evaluated_before_its_first_step() -> None:
    model, inputs = WithAttention(), torch.randn(3, 2, 12)
    optimizer = LOZO(model.named_parameters(), backend="sidepath")
    expected = model(inputs)
    optimizer.eval()
    torch.testing.assert_close(model(inputs), expected)
    optimizer.train()


# When something goes wrong.


@every
@pytest.mark.parametrize(("at_step", "error"), [(0, KeyboardInterrupt), (3, ValueError)])
def test_an_error_in_the_closure_leaves_weights_and_optimizer_as_they_were(
    make: Make, error: type[BaseException], at_step: int
) -> None:
    """On the first, second and third call of a step, at a refresh (3) and elsewhere, and the step again."""
    undisturbed, other = begin(make)
    train(undisturbed, other, 0, STEPS)
    for failing in (1, 2, 3):
        model, optimizer = begin(make)
        train(model, optimizer, 0, at_step)
        calls = []

        def closure(model: nn.Module = model, calls: list[int] = calls, failing: int = failing) -> Tensor:
            calls.append(1)
            if len(calls) == failing:
                raise error("stop")
            return loss_of(model, at_step)

        optimizer.eval()
        before = loss_of(model, at_step)
        optimizer.train()
        try:
            optimizer.step(closure)
        except error:
            optimizer.eval()
            torch.testing.assert_close(loss_of(model, at_step), before, rtol=1e-5, atol=1e-6)
            optimizer.train()
            train(model, optimizer, at_step, STEPS)
            for one, two in zip(weights(model), weights(undisturbed), strict=True):
                torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
        else:
            assert len(calls) < failing


@pytest.mark.parametrize("backend", ["sidepath", "dual"])
def test_an_error_in_the_closure_leaves_weights_beside_a_path_bit_for_bit(backend: str) -> None:
    model, optimizer = begin(partial(LOZOM, backend=backend, interval=3))
    undisturbed, other = begin(partial(LOZOM, backend=backend, interval=3))
    for step in range(STEPS):
        # The second call is the second end, but in the first step, where it is the first.
        for failing in (1, 2):
            calls: list[int] = []

            def closure(calls: list[int] = calls, failing: int = failing, step: int = step) -> Tensor:
                calls.append(1)
                if len(calls) == failing:
                    raise ValueError("stop")
                return loss_of(model, step)

            with pytest.raises(ValueError, match="stop"):
                optimizer.step(closure)
        train(model, optimizer, step, step + 1)
        train(undisturbed, other, step, step + 1)
        assert_equal(weights(model), weights(undisturbed))


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_with_a_loss_that_is_not_finite_is_skipped_and_counted(make: Make, bad: float) -> None:
    model, optimizer = begin(partial(make, weight_decay=0.0))
    train(model, optimizer, 0, 4)
    optimizer.merge()
    before = weights(model)
    momentum = {p: s["momentum"].clone() for p, s in optimizer.state.items() if "momentum" in s}
    assert optimizer.nonfinite_skips() == 0
    optimizer.step(lambda: loss_of(model, 0) * bad)
    optimizer.merge()
    for one, two in zip(weights(model), before, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(optimizer.state[p]["momentum"], held) for p, held in momentum.items())
    assert optimizer.nonfinite_skips() == 1
    assert {float(state["step"]) for state in optimizer.state.values()} == {5.0}
    train(model, optimizer, 5, 7)
    assert optimizer.nonfinite_skips() == 1
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert (
        not all(torch.equal(a, b) for a, b in zip(weights(model), before, strict=True))
        or optimizer.weights.elsewhere
    )


def test_a_loss_that_does_not_change_moves_nothing() -> None:
    for backend in ("sidepath", "dual", "inplace"):
        model, optimizer = begin(partial(LOZO, backend=backend), torch.float64)
        before = weights(model)
        for step in range(3):
            optimizer.step(lambda model=model, step=step: (loss_of(model, step) > 0).float())
        optimizer.merge()
        for one, two in zip(weights(model), before, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["inplace", "sidepath", "dual"])
def test_an_objective_that_is_not_differentiable_is_climbed(backend: Any) -> None:
    torch.manual_seed(0)
    model = nn.Linear(12, 9)
    inputs = torch.randn(200, 12)
    labels = (inputs @ torch.randn(12, 9)).argmax(1)

    def accuracy() -> float:
        return float((model(inputs).argmax(1) == labels).float().mean())

    optimizer = LOZO(
        model.named_parameters(), lr=0.3, eps=0.1, interval=5, probes=4, maximize=True, backend=backend
    )
    optimizer.attach(model)
    start = accuracy()
    for _ in range(150):
        optimizer.step(accuracy)
    optimizer.merge()
    assert accuracy() > start + 0.15


# Learning rates and parameters of all kinds.


@every
def test_a_learning_rate_may_be_a_tensor_and_change(make: Make) -> None:
    finals = []
    for as_tensor in (False, True):
        model, optimizer = begin(make, lr=torch.tensor(0.5) if as_tensor else 0.5)
        for step in range(STEPS):
            rate = 2.0**-step
            if as_tensor:
                optimizer.param_groups[0]["lr"].fill_(rate)
            else:
                optimizer.param_groups[0]["lr"] = rate
            train(model, optimizer, step, step + 1)
        optimizer.merge()
        finals.append(weights(model))
    for one, two in zip(*finals, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_schedulers_drive_the_learning_rate() -> None:
    weight = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = MeZO([weight], lr=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < 2 else 0.0)
    for step in range(4):
        before = weight.detach().clone()
        optimizer.step(weight.sum)
        scheduler.step()
        assert ((weight - before).abs().max() > 1e-3) == (step < 2)


def test_maximize_climbs_what_otherwise_is_descended() -> None:
    finals = []
    for maximize in (False, True):
        weight = nn.Parameter(torch.zeros(16, 12, dtype=torch.float64))
        optimizer = LOZOM([weight], lr=1e-2, backend="sidepath", maximize=maximize)
        for _ in range(3):
            optimizer.step(
                lambda w=weight, sign=-1 if maximize else 1: sign * F.linear(torch.eye(12).double(), w).sum()
            )
        optimizer.merge()
        finals.append(weight.detach())
    torch.testing.assert_close(finals[0], finals[1])
    assert finals[0].sum() < -1e-2


def test_decay_is_decoupled() -> None:
    weight = nn.Parameter(torch.ones(16, 12, dtype=torch.float64))
    for backend in ("inplace", "sidepath"):
        nn.init.ones_(weight)
        optimizer = LOZO([weight], lr=0.1, weight_decay=0.5, interval=2, backend=backend)
        for _ in range(3):
            optimizer.step(lambda: F.linear(torch.eye(12).double(), weight).sum() * 0)
        optimizer.merge()
        torch.testing.assert_close(weight.detach(), torch.full_like(weight, 0.95**3))


@every
def test_frozen_empty_and_single_parameters(make: Make) -> None:
    model = nn.ParameterDict(
        {
            "frozen": nn.Parameter(torch.ones(12, 11), requires_grad=False),
            "nothing": nn.Parameter(torch.zeros(0, 11)),
            "number": nn.Parameter(torch.tensor(2.0)),
            "matrix": nn.Parameter(torch.ones(12, 11)),
        }
    )
    optimizer = make(model.named_parameters(), lr=1e-3)
    for _ in range(4):
        optimizer.step(
            lambda: (
                (F.linear(torch.ones(2, 11), model["matrix"]) * model["number"]).square().mean()
                + model["nothing"].sum()
                + model["frozen"].mean()
            )
        ) if optimizer.param_groups[0]["backend"] != "dual" else optimizer.step_with_slopes(torch.ones(1))
    optimizer.merge()
    assert torch.equal(model["frozen"], torch.ones(12, 11))
    assert model["frozen"] not in optimizer.state
    assert model["number"] != 2
    assert not torch.equal(model["matrix"], torch.ones(12, 11))
    optimizer.load_state_dict(through_a_file(optimizer.state_dict()))


def test_an_optimizer_of_frozen_weights_alone_steps() -> None:
    layer = nn.Linear(12, 11).requires_grad_(requires_grad=False)
    optimizer = LOZO(layer.named_parameters())
    assert float(optimizer.step(lambda: layer(torch.zeros(2, 12)).sum() * 0 + 3)) == 3


@every
def test_parameters_without_names(make: Make) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    optimizer.attach(model)
    train(model, optimizer, 0, 4)
    state, model_state = through_a_file(optimizer.state_dict()), copy.deepcopy(model.state_dict())
    train(model, optimizer, 4, STEPS)
    resumed = small()
    again = make(resumed.parameters(), lr=1.0)
    again.attach(resumed)
    resumed.load_state_dict(model_state)
    again.load_state_dict(state)
    train(resumed, again, 4, STEPS)
    assert_equal(weights(resumed), weights(model))


def test_seeds_and_names_choose_the_directions() -> None:
    def direction(name: str, seed: int) -> Tensor:
        weight = nn.Parameter(torch.zeros(16, 12))
        optimizer = LOZO([(name, weight)], lr=1.0, seed=seed, backend="inplace")
        optimizer.step(weight.sum)
        return weight.detach() / weight.detach().norm()

    assert torch.equal(direction("a", 0), direction("a", 0))
    for other in (direction("b", 0), direction("a", 1), direction("a", 1 << 40)):
        assert abs((direction("a", 0) * other).sum()) < 0.9


@every
def test_it_trains(make: Make) -> None:
    model, optimizer = begin(make, lr=5e-3)
    before = sum(float(loss_of(small(), step)) for step in range(4))
    for _ in range(40):
        train(model, optimizer, 0, 4)
    optimizer.merge()
    assert sum(float(loss_of(model, step)) for step in range(4)) < 0.85 * before


def test_loading_again_and_again_leaves_one_set_of_hooks() -> None:
    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.in_features = 12
            self.weight = nn.Parameter(torch.zeros(16, 12), requires_grad=False)

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.new_zeros(len(inputs), 16)

    module = Opaque()
    optimizer = LOZO([("weight", module.weight)], additive=True)
    optimizer.attach(module)
    for _ in range(3):
        optimizer.step(lambda: module(torch.ones(2, 12)).sum())
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.attach(module)
    optimizer.step(lambda: module(torch.ones(2, 12)).sum())
    assert len(module._forward_hooks) == 1


def test_the_shared_class_has_directions_of_both_kinds() -> None:
    assert isinstance(MeZO([nn.Parameter(torch.zeros(3))]), ZerothOrderOptimizer)
    assert LOZO.closure == MeZO.closure == "loss"


def test_resuming_keeps_the_backend_that_auto_chose_whatever_the_next_batch_is_like() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 32), nn.Tanh(), nn.Linear(32, 24))
    twin = copy.deepcopy(model)
    batches = [torch.randn(rows, 24) for rows in (4, 4, 600, 600)]

    def run(model: nn.Module, optimizer: LOZO, batches: list[torch.Tensor]) -> None:
        optimizer.attach(model)
        for batch in batches:
            optimizer.step(lambda batch=batch: model(batch).square().mean())

    whole = LOZO(model.named_parameters(), lr=1e-2, rank=2)
    run(model, whole, batches)
    assert whole.evaluation.backend == "dual"
    first = LOZO(twin.named_parameters(), lr=1e-2, rank=2)
    run(twin, first, batches[:2])
    resumed = LOZO(twin.named_parameters(), lr=1e-2, rank=2)
    resumed.load_state_dict(first.state_dict())
    run(twin, resumed, batches[2:])
    assert resumed.evaluation.backend == "dual"
    whole.merge()
    resumed.merge()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
