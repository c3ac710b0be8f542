"""Per-parameter mode makes the same steps as ``step()``, a weight at a time, and keeps no gradient longer."""

from __future__ import annotations

import copy
import gc
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from graftwork_optim_core import GaLoreAdamW, GoLoreMSGD, GWTAdamW, SubspaceOptimizer, param_groups

Make = Callable[..., SubspaceOptimizer]

LOW_RANK: dict[str, Any] = {"rank": 3, "refresh_every": 3}
FAMILY: dict[str, Make] = {
    "gwt": partial(GWTAdamW, weight_decay=0.1),
    "gwt-stacked": partial(GWTAdamW, weight_decay=0.1, fused=False),
    "gwt-loop": partial(GWTAdamW, weight_decay=0.1, foreach=False),
    "galore": partial(GaLoreAdamW, **LOW_RANK, weight_decay=0.1),
    "golore": partial(GoLoreMSGD, **LOW_RANK, random_last=1.0, scale=1.0),
    "msgd-wavelet": partial(SubspaceOptimizer, host="msgd", norm_growth_limit=1.01),
    "plain": partial(SubspaceOptimizer, plain=True),
    "plain-stacked": partial(SubspaceOptimizer, plain=True, fused=False),
}
every = pytest.mark.parametrize("make", FAMILY.values(), ids=FAMILY)
pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than two dimensions")


class Model(nn.Module):
    """Matrices of several widths, vectors, a shared weight, and a branch that not every batch takes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(9, 12)
        self.shared = nn.Linear(12, 12, bias=False)
        self.norm = nn.LayerNorm(12)
        self.branch = nn.Linear(12, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, inputs: Tensor, branch: bool = True) -> Tensor:
        hidden = torch.tanh(self.shared(torch.tanh(self.first(inputs))))
        hidden = self.norm(torch.tanh(self.shared(hidden)))
        output: Tensor = self.head(torch.tanh(self.branch(hidden)) if branch else hidden)
        return output


def model_of(dtype: torch.dtype = torch.float32) -> Model:
    torch.manual_seed(3)
    return Model().to(dtype)


def loss_of(model: Model, number: int, branch: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    inputs = torch.randn(6, 9, generator=generator).to(model.head.weight.dtype)
    return (model(inputs, branch) - 0.1 * number).square().mean()


def train(
    model: Model,
    optimizer: SubspaceOptimizer,
    steps: range,
    micro_batches: int = 1,
    branches: Callable[[int], bool] = lambda number: True,
) -> None:
    for step in steps:
        for part in range(micro_batches):
            number = step * micro_batches + part
            loss_of(model, number, branches(number)).backward()
        optimizer.step()
        optimizer.zero_grad()


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def assert_same(one: Model, two: Model) -> None:
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b), name


def assert_same_state(one: SubspaceOptimizer, two: SubspaceOptimizer) -> None:
    states = zip(one.state.values(), two.state.values(), strict=True)
    assert all(torch.equal(value, b[key]) for a, b in states for key, value in a.items())


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_weights_and_state_are_those_of_step_to_the_bit(make: Make, dtype: torch.dtype) -> None:
    runs = []
    for early in (False, True):
        model = model_of(dtype)
        optimizer = make(model.parameters(), lr=1e-2)
        if early:
            optimizer.step_in_backward()
        train(model, optimizer, range(10))
        runs.append((model, optimizer))
    (late, late_optimizer), (early_model, early_optimizer) = runs
    assert_same(late, early_model)
    assert_same_state(late_optimizer, early_optimizer)
    assert not torch.equal(late.first.weight, model_of(dtype).first.weight)


@every
def test_micro_batches_sum_before_the_step_and_every_step_counts_once(make: Make) -> None:
    runs = []
    for early in (False, True):
        model = model_of()
        optimizer = make(model.parameters(), lr=1e-2)
        if early:
            optimizer.step_in_backward(micro_batches=3)
        train(model, optimizer, range(6), micro_batches=3)
        assert {float(state["step"]) for state in optimizer.state.values()} == {6.0}
        runs.append(model)
    assert_same(*runs)


def test_weights_move_in_the_last_backward_pass_and_not_before() -> None:
    model = model_of()
    optimizer = GWTAdamW(model.parameters(), lr=1e-2)
    optimizer.step_in_backward(micro_batches=3)
    before = weights(model)
    for part in range(2):
        loss_of(model, part).backward()
        assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
        assert all(parameter.grad is not None for parameter in model.parameters())
    loss_of(model, 2).backward()
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    moved = weights(model)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(moved, weights(model), strict=True))


@every
@pytest.mark.parametrize("taken", [(0,), (0, 2), ()], ids=str)
def test_a_weight_unused_in_some_micro_batches_steps_once_with_its_sum(
    make: Make, taken: tuple[int, ...]
) -> None:
    runs = []
    for early in (False, True):
        model = model_of()
        optimizer = make(model.parameters(), lr=1e-2)
        if early:
            optimizer.step_in_backward(micro_batches=3)
        train(model, optimizer, range(4), 3, branches=lambda number: number % 3 in taken)
        expected = 4.0 if taken else 0.0
        assert float(optimizer.state[model.branch.weight]["step"]) == expected
        assert all(parameter.grad is None for parameter in model.parameters())
        runs.append(model)
    assert_same(*runs)


@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize("make", [FAMILY["gwt"], FAMILY["galore"]], ids=["gwt", "galore"])
def test_max_norm_each_clips_each_weights_whole_gradient_by_its_own_norm(
    make: Make, micro_batches: int
) -> None:
    model, clipped = model_of(), model_of()
    optimizer, early = make(model.parameters(), lr=1e-2), make(clipped.parameters(), lr=1e-2)
    early.step_in_backward(micro_batches, max_norm_each=0.05)
    exceeded = 0
    for step in range(4):
        for part in range(micro_batches):
            # The branch is left out of the last, so that its clipping falls to step().
            number, branch = step * micro_batches + part, part < max(1, micro_batches - 1)
            loss_of(model, number, branch).backward()
            loss_of(clipped, number, branch).backward()
        for parameter in model.parameters():
            exceeded += int(torch.nn.utils.clip_grad_norm_([parameter], 0.05) > 0.05)
        optimizer.step()
        early.step()
        optimizer.zero_grad()
    assert exceeded > 8
    assert_same(model, clipped)


def test_a_scheduler_drives_it_and_counts_steps() -> None:
    runs = []
    for early in (False, True):
        model = model_of()
        optimizer = GaLoreAdamW(model.parameters(), lr=1e-2, **LOW_RANK)
        if early:
            optimizer.step_in_backward()
        scheduler = LambdaLR(optimizer, lambda step: 0.0 if step == 0 else 1 / step)
        for step in range(6):
            before = weights(model)
            train(model, optimizer, range(step, step + 1))
            scheduler.step()
            stood = all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
            assert stood == (step == 0)
        assert scheduler.last_epoch == 6
        runs.append(model)
    assert_same(*runs)


@every
@pytest.mark.parametrize("resumed_early", [True, False])
def test_p6_resuming_is_exact_in_either_mode(make: Make, resumed_early: bool) -> None:
    model = model_of()
    optimizer = make(model.parameters(), lr=1e-2)
    optimizer.step_in_backward(micro_batches=2)
    train(model, optimizer, range(4), 2)
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    train(model, optimizer, range(4, 9), 2)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    resumed = model_of()
    resumed.load_state_dict(saved["model"])
    resumed_optimizer = make(resumed.parameters(), lr=7.0)
    if resumed_early:
        resumed_optimizer.step_in_backward(micro_batches=2)
    resumed_optimizer.load_state_dict(saved["optimizer"])
    train(resumed, resumed_optimizer, range(4, 9), 2)
    assert_same(model, resumed)
    assert_same_state(optimizer, resumed_optimizer)


def test_a_closure_is_called_once_and_its_backward_pass_steps() -> None:
    model, reference = model_of(), model_of()
    optimizer, plain = GWTAdamW(model.parameters()), GWTAdamW(reference.parameters())
    optimizer.step_in_backward()

    def closure_of(some: Model, its: SubspaceOptimizer, number: int) -> Callable[[], Any]:
        def closure() -> Tensor:
            its.zero_grad()
            loss = loss_of(some, number)
            loss.backward()
            return loss

        return closure

    for number in range(3):
        ours = optimizer.step(closure_of(model, optimizer, number))
        theirs = plain.step(closure_of(reference, plain, number))
        assert ours.item() == theirs.item()
    assert_same(model, reference)


def test_remove_goes_back_to_steps_of_the_whole_model() -> None:
    model, reference = model_of(), model_of()
    optimizer, plain = GWTAdamW(model.parameters()), GWTAdamW(reference.parameters())
    handle = optimizer.step_in_backward()
    train(model, optimizer, range(3))
    handle.remove()
    before = weights(model)
    loss_of(model, 3).backward()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.step()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.zero_grad()
    handle.remove()
    optimizer.step_in_backward()
    train(model, optimizer, range(4, 6))
    train(reference, plain, range(6))
    assert_same(model, reference)


def test_a_removed_handle_does_not_take_another_with_it() -> None:
    model = model_of()
    optimizer = GWTAdamW(model.parameters())
    first = optimizer.step_in_backward()
    first.remove()
    optimizer.step_in_backward()
    first.remove()
    loss_of(model, 0).backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    optimizer.step()
    train(model, optimizer, range(1, 3))
    assert {float(state["step"]) for state in optimizer.state.values()} == {3.0}
    with pytest.raises(ValueError, match="step_in_backward must be called once"):
        optimizer.step_in_backward()


def test_a_second_call_is_refused() -> None:
    optimizer = GWTAdamW(model_of().parameters())
    optimizer.step_in_backward()
    with pytest.raises(ValueError, match=r"step_in_backward must be called once; remove\(\) the handle"):
        optimizer.step_in_backward()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"micro_batches": 0}, "micro_batches must be a whole number, 1 or more, got 0"),
        ({"micro_batches": 1.5}, "micro_batches must be a whole number, 1 or more, got 1.5"),
        ({"max_norm_each": 0.0}, "max_norm_each must be greater than 0, got 0.0"),
    ],
)
def test_options_out_of_range_are_refused_and_attach_nothing(options: dict[str, Any], message: str) -> None:
    model = model_of()
    optimizer = GWTAdamW(model.parameters())
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        optimizer.step_in_backward(**options)
    assert message in str(raised.value)
    loss_of(model, 0).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.step_in_backward()


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_one_backward_pass_too_many_is_an_error_and_not_a_second_step(micro_batches: int) -> None:
    model = model_of()
    optimizer = GWTAdamW(model.parameters())
    optimizer.step_in_backward(micro_batches)
    for number in range(micro_batches):
        loss_of(model, number).backward()
    before = weights(model)
    with pytest.raises(
        ValueError, match=rf"more backward passes than micro_batches={micro_batches}: call step"
    ):
        loss_of(model, 9).backward()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert {float(state["step"]) for state in optimizer.state.values()} == {1.0}
    optimizer.zero_grad()
    optimizer.step()
    train(model, optimizer, range(1), micro_batches)
    assert {float(state["step"]) for state in optimizer.state.values()} == {2.0}


def peak_of_live_gradients(layers: int, early: bool) -> int:
    """Return the most elements of gradients that were alive together when one more was complete."""
    model = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in range(layers)))
    optimizer = GWTAdamW(model.parameters())
    live, peak = 0, 0

    def watch(parameter: Tensor) -> None:
        nonlocal live, peak
        live = sum(p.grad.numel() for p in model.parameters() if p.grad is not None)
        peak = max(peak, live)

    # Registered before the optimizer's, they see each gradient before it is freed.
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(watch)  # type: ignore[no-untyped-call]
    if early:
        optimizer.step_in_backward()
    model(torch.randn(2, 16)).square().mean().backward()
    return peak


def test_the_gradients_of_the_model_never_exist_together() -> None:
    assert peak_of_live_gradients(12, early=False) == 12 * 16 * 16
    assert peak_of_live_gradients(12, early=True) == 16 * 16


def test_a_freed_gradient_gives_its_memory_back() -> None:
    """By weak references: nothing else holds on to the tensors either."""
    import weakref

    model = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in range(6)))
    optimizer = GaLoreAdamW(model.parameters(), rank=3, refresh_every=1)
    seen: list[weakref.ref[Tensor]] = []
    most = 0

    def watch(parameter: Tensor) -> None:
        nonlocal most
        assert parameter.grad is not None
        seen.append(weakref.ref(parameter.grad))
        most = max(most, sum(one() is not None for one in seen))

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(watch)  # type: ignore[no-untyped-call]
    optimizer.step_in_backward()
    gc.disable()
    try:
        for _ in range(2):
            model(torch.randn(2, 16)).square().mean().backward()
            optimizer.step()
    finally:
        gc.enable()
    assert len(seen) == 12
    assert most == 1


def test_a_group_added_later_steps_in_the_backward_pass_too() -> None:
    runs = []
    for early in (False, True):
        model = model_of()
        later = {id(parameter) for parameter in model.head.parameters()}
        optimizer = GWTAdamW([p for p in model.parameters() if id(p) not in later], lr=1e-2)
        handle = optimizer.step_in_backward() if early else None
        model.head.requires_grad_(False)
        train(model, optimizer, range(2))
        model.head.requires_grad_(True)
        optimizer.add_param_group({"params": list(model.head.parameters()), "lr": 3e-3, "level": 1})
        loss_of(model, 2).backward()
        assert (model.head.weight.grad is None) == early
        optimizer.step()
        optimizer.zero_grad()
        train(model, optimizer, range(3, 5))
        assert float(optimizer.state[model.head.weight]["step"]) == 3
        runs.append(model)
        if handle is not None:
            handle.remove()
            loss_of(model, 5).backward()
            assert all(parameter.grad is not None for parameter in model.parameters())
    # The last backward pass, after the handle was gone, moved nothing.
    assert_same(*runs)


def test_a_weight_thawed_later_steps_in_step() -> None:
    runs = []
    for early in (False, True):
        model = model_of()
        model.first.requires_grad_(False)
        optimizer = GaLoreAdamW(model.parameters(), lr=1e-2, **LOW_RANK)
        if early:
            optimizer.step_in_backward()
        train(model, optimizer, range(2))
        model.first.requires_grad_(True)
        train(model, optimizer, range(2, 5))
        assert float(optimizer.state[model.first.weight]["step"]) == 3
        runs.append(model)
    assert_same(*runs)


def test_selected_groups_and_their_own_options_hold() -> None:
    runs = []
    for early in (False, True):
        model = model_of()
        groups = param_groups(model, match=("first", "branch"))
        groups[1]["lr"] = 1e-3
        optimizer = GaLoreAdamW(groups, lr=1e-2, **LOW_RANK)
        if early:
            optimizer.step_in_backward()
        train(model, optimizer, range(5))
        runs.append(model)
    assert_same(*runs)


def test_a_gradient_that_is_not_finite_is_skipped_counted_and_freed() -> None:
    model = model_of()
    optimizer = GWTAdamW(model.parameters(), lr=1e-2)
    optimizer.step_in_backward(max_norm_each=1.0)
    before = weights(model)
    (loss_of(model, 0) * torch.nan).backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert optimizer.nonfinite_skips() == len(before)


def test_a_copy_steps_in_step_and_leaves_the_original_alone() -> None:
    model = model_of()
    optimizer = GWTAdamW(model.parameters(), lr=1e-2)
    optimizer.step_in_backward()
    train(model, optimizer, range(2))
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    before = weights(model)
    loss_of(twin, 2).backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())
    twin_optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    train(model, optimizer, range(2, 3))
    assert_same(model, twin)


def test_a_sparse_gradient_is_refused_by_name() -> None:
    table = nn.Embedding(5, 4, sparse=True)
    optimizer = GWTAdamW([("words.weight", table.weight)])
    optimizer.step_in_backward()
    with pytest.raises(ValueError, match=r"'words.weight' has a gradient of layout torch.sparse_coo"):
        table(torch.tensor([1])).sum().backward()


def test_a_weights_step_does_not_look_at_all_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of n weights must not cost n squared."""
    from graftwork_optim_core.subspace import plan

    calls = 0
    build = plan.GroupPlans.plan_of

    def counted(self: plan.GroupPlans, parameter: Tensor) -> plan.Plan:
        nonlocal calls
        calls += 1
        return build(self, parameter)

    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(30)))
    optimizer = GWTAdamW(model.parameters())
    optimizer.step_in_backward()
    monkeypatch.setattr(plan.GroupPlans, "plan_of", counted)
    model(torch.randn(2, 4)).sum().backward()
    assert calls == 30
    optimizer.step()
    assert calls <= 2 * 30


def test_step_parameter_refuses_a_stranger() -> None:
    optimizer = GWTAdamW(model_of().parameters())
    with pytest.raises(ValueError, match=r"GWTAdamW has no such parameter, of shape \(2, 3\)"):
        optimizer.step_parameter(nn.Parameter(torch.zeros(2, 3)))
