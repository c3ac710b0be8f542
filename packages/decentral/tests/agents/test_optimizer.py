"""Any optimizer as the local move of a strategy.

Reached from here: ``agents/packing.py``.
"""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LambdaLR

from graftwork import GraftworkError
from graftwork_decentral import (
    AgentBank,
    DecentralizedOptimizer,
    StackedCommunicator,
    Strategy,
    consensus,
    diffusion,
    exact_diffusion,
    extra,
    full,
    gt_atc,
    gt_non_atc,
    gt_semi_atc,
    ring,
)

CORRECTING = [exact_diffusion, extra, gt_atc, gt_semi_atc, gt_non_atc]
EVERY = [diffusion, consensus, *CORRECTING]


def momentum(model):
    return torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.8)


def adam(model, lr=0.01):
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)


def own_triple() -> Strategy:
    """Exact diffusion as a user may write it: coefficients alone."""
    return Strategy("mine", a=(0.0, 1.0), b_squared=(1.0, -1.0), c=(0.0, 1.0), needs_symmetric=True)


@pytest.mark.parametrize("strategy", [*CORRECTING, own_triple])
def test_sgd_with_a_correction_is_exact(strategy, build, run) -> None:
    assert run(*build(strategy()), 800) < 1e-18


@pytest.mark.parametrize("strategy", [exact_diffusion, gt_semi_atc])
def test_momentum_with_a_correction_is_exact(strategy, build, run) -> None:
    assert run(*build(strategy(), momentum), 800) < 1e-18


@pytest.mark.parametrize("strategy", [diffusion, consensus])
def test_without_a_correction_agents_end_beside_the_minimizer(strategy, build, run) -> None:
    assert run(*build(strategy()), 300) > 1e-2


def test_consensus_ends_farther_off_than_diffusion(build, run) -> None:
    assert run(*build(consensus()), 300) > 1.2 * run(*build(diffusion()), 300)


@pytest.mark.parametrize("strategy", [exact_diffusion, extra])
def test_a_correction_around_adam_is_refused_because_it_corrects_nothing(strategy, build, run) -> None:
    with pytest.raises(GraftworkError, match=r"corrects nothing.*gt-atc or gt-semi-atc.*unsuited = 'warn'"):
        build(strategy(), adam)
    with pytest.warns(UserWarning, match="corrects nothing"):
        bank, optimizer = build(strategy(), adam, unsuited="warn")
    assert run(bank, optimizer, 800) > 1e-2


def test_tracking_hands_adam_the_mean_gradient(build, run, quadratics) -> None:
    bank, optimizer = build(gt_atc(), lambda model: adam(model, lr=0.02))
    run(bank, optimizer, 500)
    for group in optimizer.param_groups:
        group["lr"] = 1e-4
    tracked = run(bank, optimizer, 500)
    uncorrected = run(*build(diffusion(), adam), 800)
    assert tracked < 1e-5 < 1e-2 < uncorrected


@pytest.mark.parametrize("strategy", EVERY)
@pytest.mark.parametrize("inner", [momentum, adam])
def test_one_agent_trains_as_the_inner_optimizer_alone(strategy, inner, build, quadratics) -> None:
    bank, optimizer = build(strategy(), inner, agents=1)
    alone = copy.deepcopy(bank.models[0])
    alone_optimizer = inner(alone)
    for _ in range(20):
        for model, stepped in ((bank.models[0], optimizer), (alone, alone_optimizer)):
            stepped.zero_grad()
            quadratics.loss(0, model()).backward()
            stepped.step()
    assert torch.equal(bank.models[0](), alone())


def test_all_agents_with_everyone_are_one_centralized_run(quadratics, run) -> None:
    bank = AgentBank([type_of_point() for _ in range(6)])
    optimizer = DecentralizedOptimizer(bank, momentum, diffusion(), StackedCommunicator(full(6)))
    central = type_of_point()
    central_optimizer = momentum(central)
    for _ in range(50):
        optimizer.zero_grad()
        quadratics.backward(bank)
        optimizer.step()
        central_optimizer.zero_grad()
        sum(quadratics.loss(agent, central()) for agent in range(6)).div(6).backward()
        central_optimizer.step()
    for model in bank.models:
        torch.testing.assert_close(model(), central(), rtol=1e-12, atol=1e-12)


class Beside(torch.optim.SGD):
    """Keeps its moves beside the weights, up to ``merge()``."""

    def step(self, closure=None):
        start = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        super().step(closure)
        parameters = [p for group in self.param_groups for p in group["params"]]
        self.beside = [p.detach() - before for p, before in zip(parameters, start, strict=True)]
        for parameter, before in zip(parameters, start, strict=True):
            parameter.data.copy_(before)

    def merge(self):
        for parameter, move in zip(self.param_groups[0]["params"], self.beside, strict=True):
            parameter.data.add_(move)


@pytest.mark.parametrize("strategy", [diffusion, consensus])
def test_movement_beside_the_weights_is_mixed_with_them(strategy, build, run) -> None:
    ends = []
    for kind in (Beside, torch.optim.SGD):
        bank, optimizer = build(strategy(), lambda model, kind=kind: kind(model.parameters(), lr=0.1))
        run(bank, optimizer, 20)
        ends.append(bank.segments[0].weights)
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-12)


def test_what_mixing_would_pass_over_or_spoil_is_refused(build) -> None:
    def additive(model):
        optimizer = Beside(model.parameters(), lr=0.1)
        optimizer.param_groups[0]["additive"] = True
        return optimizer

    def logged(model):
        optimizer = Beside(model.parameters(), lr=0.1)
        optimizer.log = object()
        return optimizer

    with pytest.raises(GraftworkError, match="additive must be False of the Beside of agents"):
        build(diffusion(), additive)
    with pytest.raises(GraftworkError, match="log_file must be none of the Beside of agents"):
        build(diffusion(), logged)


def type_of_point() -> nn.Module:
    torch.manual_seed(0)
    return Vector()


class Vector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(5, dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        return self.values


@pytest.mark.parametrize("strategy", EVERY)
@pytest.mark.parametrize("inner", [momentum, adam])
def test_a_restored_run_is_the_run_that_was_not_stopped(strategy, inner, build, run) -> None:
    bank, optimizer = build(strategy(), inner, unsuited="warn")
    run(bank, optimizer, 7)
    saved, kept = io.BytesIO(), io.BytesIO()
    torch.save(optimizer.state_dict(), saved)
    torch.save([model.state_dict() for model in bank.models], kept)
    run(bank, optimizer, 5)
    saved.seek(0), kept.seek(0)
    other_bank, other = build(strategy(), inner, unsuited="warn")
    for model, weights in zip(other_bank.models, torch.load(kept, weights_only=True), strict=True):
        model.load_state_dict(weights)
    other.load_state_dict(torch.load(saved, weights_only=True))
    assert other.rounds == 7
    run(other_bank, other, 5)
    assert torch.equal(bank.segments[0].weights, other_bank.segments[0].weights)


def test_a_state_of_another_strategy_or_size_is_refused(build, run) -> None:
    bank, optimizer = build(exact_diffusion())
    run(bank, optimizer, 2)
    with pytest.raises(GraftworkError, match=r"of another strategy than 'diffusion'.*correction"):
        build(diffusion())[1].load_state_dict(optimizer.state_dict())
    with pytest.raises(GraftworkError, match="another number of agents"):
        build(exact_diffusion(), agents=3)[1].load_state_dict(optimizer.state_dict())


def test_a_scheduler_of_the_whole_sets_every_agents_rate(build, run) -> None:
    bank, optimizer = build(diffusion())
    scheduler = LambdaLR(optimizer, lambda step: 0.5**step)
    run(bank, optimizer, 1)
    scheduler.step()
    assert [group["lr"] for inner in optimizer.inners for group in inner.param_groups] == [0.05] * 6
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.param_groups[3]["lr"] = 0.7
    assert optimizer.inners[3].param_groups[0]["lr"] == 0.7


def test_accumulation_and_clipping_are_as_without_it(build, quadratics) -> None:
    bank, optimizer = build(exact_diffusion())
    for _ in range(3):
        optimizer.zero_grad()
        quadratics.backward(bank)
        quadratics.backward(bank)
        for model in bank.models:
            clip_grad_norm_(model.parameters(), 0.1)
        before = bank.segments[0].weights.clone()
        optimizer.step()
        # Each mean move is a mean of moves no longer than rate times clip.
        moved = (bank.segments[0].weights.mean(0) - before.mean(0)).norm()
        assert 0 < float(moved) <= 0.1 * 0.1 + 1e-12


class TwoPoints(torch.optim.Optimizer):
    """Asks for the gradient twice a step, as variance reduction does."""

    closure = "gradient"

    def __init__(self, params, lr=0.05):
        super().__init__(params, {"lr": lr})

    def step(self, closure):
        closure()
        loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter -= group["lr"] * parameter.grad
        return loss


def test_closures_one_an_agent(build, quadratics) -> None:
    bank, optimizer = build(diffusion(), lambda model: TwoPoints(model.parameters()))
    assert optimizer.closure == "gradient"

    def closure_of(agent: int):
        def closure():
            bank.models[agent].zero_grad()
            loss = quadratics.loss(agent, bank.models[agent]())
            loss.backward()
            return loss

        return closure

    closures = [closure_of(agent) for agent in range(6)]
    first = optimizer.step(closures)
    assert len(first) == 6
    for _ in range(300):
        last = optimizer.step(closures)
    assert sum(last) < sum(first)
    with pytest.raises(ValueError, match="one for each of 6 agents"):
        optimizer.step(closures[0])
    with pytest.raises(GraftworkError, match=r"computes its own in a closure \(gradient\)"):
        build(gt_atc(), lambda model: TwoPoints(model.parameters()))


@pytest.mark.parametrize("strategy", [diffusion, exact_diffusion, gt_semi_atc])
def test_bfloat16_weights_stay_near_and_corrections_are_float32(strategy, build, run) -> None:
    bank, optimizer = build(strategy(), dtype=torch.bfloat16)
    error = run(bank, optimizer, 600)
    assert bank.segments[0].weights.dtype == torch.bfloat16
    assert all(buffer.dtype == torch.float32 for buffer in optimizer.forms[0].state().values())
    uncorrected = run(*build(diffusion()), 600)
    assert error < (2 * uncorrected if strategy is diffusion else 0.2 * uncorrected)


def test_weights_of_two_dtypes_are_mixed_apart(quadratics) -> None:
    def mixed() -> nn.Module:
        torch.manual_seed(1)
        return nn.ModuleDict({"low": nn.Linear(2, 2).bfloat16(), "high": nn.Linear(2, 2)})

    bank = AgentBank([mixed() for _ in range(4)])
    optimizer = DecentralizedOptimizer(
        bank,
        lambda m: torch.optim.SGD(m.parameters(), 0.1),
        exact_diffusion(),
        StackedCommunicator(ring(4, lazy=True)),
    )
    for agent, model in enumerate(bank.models):
        (model["low"].weight.float().sum() * agent + model["high"].weight.sum() * agent).backward()
    optimizer.step()
    for segment in bank.segments:
        assert not torch.equal(segment.weights[0], segment.weights[1])
        assert len(optimizer.state_dict()["state"]) == 16


def test_the_mean_follows_the_mean_direction(build, quadratics) -> None:
    for strategy in EVERY:
        bank, optimizer = build(strategy())
        for _ in range(30):
            optimizer.zero_grad()
            quadratics.backward(bank)
            expected = bank.segments[0].weights.mean(0) - 0.1 * bank.segments[0].gradients().mean(0)
            optimizer.step()
            torch.testing.assert_close(bank.segments[0].weights.mean(0), expected, rtol=0, atol=1e-14)


def test_what_does_not_fit_is_refused(build) -> None:
    with pytest.raises(ValueError, match=r"must hold the 6 agents of the communicator's rows 0\.\.5, got 1"):
        DecentralizedOptimizer(
            AgentBank([nn.Linear(1, 1)]), momentum, diffusion(), StackedCommunicator(ring(6))
        )
    with pytest.raises(GraftworkError, match="must train all parameters"):
        build(diffusion(), lambda model: torch.optim.SGD([model.head], lr=0.1))
    with pytest.raises(GraftworkError, match="diverges on 'ring'"):
        DecentralizedOptimizer(
            AgentBank([nn.Linear(1, 1) for _ in range(6)]),
            momentum,
            exact_diffusion(),
            StackedCommunicator(ring(6)),
        )
    _, optimizer = build(diffusion())
    with pytest.raises(GraftworkError, match="no further parameter groups"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_fused_step_does_what_the_form_does(dtype, quadratics, run) -> None:
    def trained(path: str, steps: int) -> tuple[AgentBank, DecentralizedOptimizer]:
        bank = AgentBank([Vector().to(dtype) for _ in range(6)])
        communicator = StackedCommunicator(ring(6, lazy=True), path=path)
        optimizer = DecentralizedOptimizer(bank, momentum, exact_diffusion(), communicator)
        run(bank, optimizer, steps)
        return bank, optimizer

    (fused, one), (plain, other) = trained("auto", 20), trained("differences", 20)
    tolerance = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(
        fused.segments[0].weights, plain.segments[0].weights, rtol=tolerance, atol=tolerance
    )
    assert one.communicator.traffic == other.communicator.traffic
    if dtype == torch.float64:
        assert run(*trained("auto", 0), 800) < 1e-18
