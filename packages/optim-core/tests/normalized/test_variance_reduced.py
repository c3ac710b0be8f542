"""NSGDC-VR: two gradients of one sample, as if there had been one evaluation.

Reached from here: ``normalized/two_points.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core.normalized.variance_reduced import NSGDCVR

BOTH = pytest.mark.parametrize("previous", ["store", "recompute"])
WAYS = pytest.mark.parametrize("way", [{}, {"fused": False}, {"capturable": True}], ids=str)


def gradient_closure(weight: nn.Parameter, gradient: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
    """Return a closure whose gradient is a function of the weight."""

    def closure() -> Tensor:
        weight.grad = gradient(weight.detach())
        return weight.detach().sum()

    return closure


@BOTH
@WAYS
def test_2_two_steps_by_hand(previous: Any, way: dict[str, Any]) -> None:
    weight = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    optimizer = NSGDCVR([weight], lr=1.0, momentum=0.5, previous=previous, **way)
    optimizer.step(gradient_closure(weight, lambda w: torch.tensor([3.0, 4.0]).double()))
    assert weight.tolist() == pytest.approx([2.4, 3.2], abs=1e-12)
    seen = []

    def gradient(w: Tensor) -> Tensor:
        seen.append(w.tolist())
        present = abs(w[0].item() - 2.4) < 1e-9
        return torch.tensor([0.0, 10.0] if present else [1.0, 9.0], dtype=torch.float64)

    optimizer.step(gradient_closure(weight, gradient))
    assert seen[0] == pytest.approx([3.0, 4.0], abs=1e-12)
    assert seen[1] == pytest.approx([2.4, 3.2], abs=1e-12)
    assert optimizer.state[weight]["momentum_buffer"].tolist() == pytest.approx([1.0, 7.5])
    assert weight.tolist() == pytest.approx([2.267836, 2.208772], abs=5e-7)
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.0, 10.0]


@BOTH
@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9, 0.999])
def test_8_without_noise_the_momentum_is_the_gradient(previous: Any, momentum: float) -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(7).double())
    optimizer = NSGDCVR([weight], lr=0.05, momentum=momentum, previous=previous)

    def gradient(w: Tensor) -> Tensor:
        return 2 * w / (1 + w * w) + torch.cos(w)

    for _ in range(30):
        before = weight.detach().clone()
        optimizer.step(gradient_closure(weight, gradient))
        torch.testing.assert_close(
            optimizer.state[weight]["momentum_buffer"], gradient(before), rtol=0, atol=1e-12
        )


class Noisy(nn.Module):
    """Batch norm, dropout and a counter, all of which an evaluation changes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(8, 1)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls = self.calls + 1
        output: Tensor = self.last(self.dropout(torch.relu(self.norm(self.first(inputs)))))
        return output


def noisy(previous: Any = "store", **options: Any) -> tuple[Noisy, NSGDCVR]:
    torch.manual_seed(1)
    model = Noisy()
    optimizer = NSGDCVR(model.parameters(), lr=0.1, previous=previous, **options)
    optimizer.attach(model)
    return model, optimizer


def closure_of(model: nn.Module, optimizer: NSGDCVR, batch: int, taken: list[Any]) -> Callable[[], Tensor]:
    inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(batch))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        taken.append(
            [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        )
        return loss

    return closure


@BOTH
def test_9_at_one_point_both_gradients_are_equal_bit_for_bit(previous: Any) -> None:
    model, optimizer = noisy(previous)
    optimizer.step(closure_of(model, optimizer, 0, []))
    for state, parameter in ((optimizer.state[one], one) for one in model.parameters()):
        if previous == "store":
            state["previous"].copy_(parameter.detach())
        else:
            state["moved"].zero_()
    taken: list[Any] = []
    optimizer.step(closure_of(model, optimizer, 1, taken))
    assert len(taken) == 2
    assert all(torch.equal(one, two) for one, two in zip(*taken, strict=True))


@BOTH
def test_9_buffers_and_random_numbers_are_those_of_one_evaluation(previous: Any) -> None:
    model, optimizer = noisy(previous)
    for batch in range(4):
        single = copy.deepcopy(model)
        state = torch.get_rng_state()
        losses: list[Tensor] = []
        returned = optimizer.step(closure_of(model, optimizer, batch, []))
        after = torch.get_rng_state()
        torch.set_rng_state(state)
        loss = single(torch.randn(16, 6, generator=torch.Generator().manual_seed(batch))).square().mean()
        losses.append(loss)
        assert torch.equal(after, torch.get_rng_state())
        assert returned.item() == loss.item()
        for (name, ours), theirs in zip(model.named_buffers(), single.buffers(), strict=True):
            assert torch.equal(ours, theirs), name
    assert int(model.calls) == 4


def test_without_the_model_its_buffers_advance_twice() -> None:
    """Which is why the optimizer must be told of it."""
    torch.manual_seed(1)
    model = Noisy()
    optimizer = NSGDCVR(model.parameters(), lr=0.1)
    for batch in range(3):
        optimizer.step(closure_of(model, optimizer, batch, []))
    assert int(model.calls) == 5


@BOTH
def test_a_closure_that_raises_leaves_the_present_parameters(previous: Any) -> None:
    model, optimizer = noisy(previous)
    for batch in range(2):
        optimizer.step(closure_of(model, optimizer, batch, []))
    before = copy.deepcopy(model.state_dict())
    state = copy.deepcopy(optimizer.state_dict()["state"])

    def broken() -> Tensor:
        raise ArithmeticError("out of memory")

    with pytest.raises(ArithmeticError):
        optimizer.step(broken)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for key, entry in optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, state[key][name]) for name, value in entry.items())


def test_recomputed_previous_points_follow_stored_ones() -> None:
    finals = []
    for previous in ("store", "recompute"):
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)).double()
        optimizer = NSGDCVR(model.parameters(), lr=0.1, previous=previous, weight_decay=0.1)  # type: ignore[arg-type]
        for step in range(12):
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(step)).double()

            def closure(
                inputs: Tensor = inputs, model: nn.Module = model, own: NSGDCVR = optimizer
            ) -> Tensor:
                own.zero_grad()
                loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
                loss.backward()
                return loss

            optimizer.step(closure)
        finals.append([parameter.detach() for parameter in model.parameters()])
    for one, two in zip(*finals, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


def test_both_gradients_are_clipped() -> None:
    weight = nn.Parameter(torch.tensor([0.0, 0.0], dtype=torch.float64))
    optimizer = NSGDCVR([weight], lr=1.0, momentum=0.5, clip=1.0)
    optimizer.step(gradient_closure(weight, lambda w: torch.tensor([4.0, 0.0]).double()))
    assert weight.tolist() == [-1.0, 0.0]
    given = [torch.tensor([0.0, 3.0]).double(), torch.tensor([0.0, 0.5]).double()]
    optimizer.step(gradient_closure(weight, lambda w: given.pop(0)))
    # m = (0, 0.5) + 0.5 ((1, 0) - (0, 1)).
    assert optimizer.state[weight]["momentum_buffer"].tolist() == pytest.approx([0.5, 0.0])


@pytest.mark.parametrize("which", [0, 1])
@BOTH
@WAYS
def test_either_gradient_that_is_not_finite_stops_the_step(
    which: int, previous: Any, way: dict[str, Any]
) -> None:
    weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = NSGDCVR([weight], lr=1.0, previous=previous, **way)
    for _ in range(2):
        optimizer.step(gradient_closure(weight, lambda w: w + 1))
    before = weight.detach().clone(), copy.deepcopy(optimizer.state[weight])
    given = [torch.ones(2).double(), torch.ones(2).double()]
    given[which][0] = torch.nan
    optimizer.step(gradient_closure(weight, lambda w: given.pop(0)))
    assert torch.equal(weight, before[0])
    assert all(torch.equal(value, before[1][name]) for name, value in optimizer.state[weight].items())
    assert optimizer.nonfinite_skips() == 1


def test_a_batch_that_advances_within_a_step_is_noticed() -> None:
    model, optimizer = noisy()
    optimizer.step(closure_of(model, optimizer, 0, []))
    before = copy.deepcopy(model.state_dict())

    def with_print(fingerprint: Any) -> Callable[[], Tensor]:
        closure = closure_of(model, optimizer, 1, [])
        closure.fingerprint = fingerprint  # type: ignore[attr-defined]
        return closure

    numbers = iter(range(10))
    with pytest.raises(RuntimeError, match="fingerprint was 0 and then 1; fetch the batch before step"):
        optimizer.step(with_print(lambda: next(numbers)))
    assert all(
        torch.equal(value, before[name])
        for name, value in model.state_dict().items()
        if "." in name and "norm.running" not in name and "num_batches" not in name
    )
    tensors = iter([torch.zeros(2), torch.ones(2)])
    with pytest.raises(RuntimeError, match="the closure must evaluate the same batch both times"):
        optimizer.step(with_print(lambda: next(tensors)))
    optimizer.step(with_print(lambda: 7))
    optimizer.step(with_print(torch.ones(2)))


def test_a_step_without_closure_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"NSGDCVR\.step needs a closure that zeroes the gradients"):
        NSGDCVR([nn.Parameter(torch.zeros(2))]).step()


def test_recomputing_needs_precision() -> None:
    weight = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
    NSGDCVR([weight])
    with pytest.raises(
        ValueError, match=r"previous must be 'store' for parameter 'w' of dtype torch.bfloat16"
    ):
        NSGDCVR([("w", weight)], previous="recompute")


@BOTH
@WAYS
def test_a_parameter_that_sits_out_is_evaluated_where_it_stands(previous: Any, way: dict[str, Any]) -> None:
    one, two = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = NSGDCVR([one, two], lr=0.1, previous=previous, **way)
    points: list[list[float]] = []

    def closure(with_two: bool) -> Callable[[], Tensor]:
        def evaluate() -> Tensor:
            points.append([*one.tolist(), *two.tolist()])
            one.grad = one.detach().clone()
            two.grad = two.detach().clone() if with_two else None
            return one.detach().sum()

        return evaluate

    optimizer.step(closure(True))
    optimizer.step(closure(True))
    optimizer.step(closure(False))
    standing = two.tolist()
    points.clear()
    optimizer.step(closure(True))
    assert points[0][2:] == pytest.approx(standing, abs=1e-12)
    assert points[1][2:] == standing


def test_gradients_that_share_memory_between_evaluations_are_told_apart() -> None:
    """As those of DistributedDataParallel do, which are views of one buffer."""
    weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    buffer = torch.zeros(2, dtype=torch.float64)
    optimizer = NSGDCVR([weight], lr=1.0, momentum=0.5)

    def closure() -> Tensor:
        buffer.copy_(weight.detach() + 1)
        weight.grad = buffer
        return buffer.sum()

    for _ in range(4):
        expected = weight.detach() + 1
        optimizer.step(closure)
        torch.testing.assert_close(optimizer.state[weight]["momentum_buffer"], expected)


@BOTH
def test_a_resumed_run_is_the_run_bit_for_bit(previous: Any) -> None:
    model, optimizer = noisy(previous)
    snapshots = []
    for batch in range(6):
        snapshots.append(
            (copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict()), torch.get_rng_state())
        )
        optimizer.step(closure_of(model, optimizer, batch, []))
    for first, (model_state, optimizer_state, random_state) in enumerate(snapshots):
        again, resumed = noisy(previous)
        again.load_state_dict(model_state)
        resumed.load_state_dict(optimizer_state)
        torch.set_rng_state(random_state)
        for batch in range(first, 6):
            resumed.step(closure_of(again, resumed, batch, []))
        for name, value in again.state_dict().items():
            assert torch.equal(value, model.state_dict()[name]), (first, name)
