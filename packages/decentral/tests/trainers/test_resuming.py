"""Every strategy with every kind of optimizer state: what is resumed ends with the bits of what was not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_decentral import StackedCommunicator, ring, strategies
from graftwork_decentral.communication import Communicator
from graftwork_decentral.faults.plan import Faults
from graftwork_decentral.topology import torus
from graftwork_decentral.trainers.checkpoints import AgentCheckpoints
from graftwork_decentral.trainers.decentralized_procedure import DecentralizedProcedure
from graftwork_decentral.trainers.making_agents import agents_from
from graftwork_trainer.checkpoint import TrainingState
from graftwork_trainer.options import GradientOptions

TRACKING = ["gt-atc", "gt-semi-atc", "gt-non-atc"]
EVERY = ["diffusion", "consensus", "exact-diffusion", "extra", *TRACKING]
STEPS = 6


class Waves:
    """Agents fit different numbers by a model with dropout and a layer that takes no part."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def build_model(self) -> nn.Module:
        names = ("hidden", "head", "unused")
        layers = {name: nn.Linear(3, 3, bias=False) for name in names}
        return nn.ModuleDict({**layers, "drop": nn.Dropout(0.2)}).to(self.dtype)

    def batches(self, split: str, *, rank: int, world_size: int, seed: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(1000 * seed + rank)
        while True:
            yield torch.randn(6, 3, generator=generator).to(self.dtype) + rank

    def loss(self, model: Any, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        outputs = model["head"](model["drop"](model["hidden"](batch).tanh()))
        return (outputs - batch.sin()).square().mean(), {}


class Late(torch.optim.Optimizer):
    """Somebody's: makes its state at its third step, nested, and in float64."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.05, "seen": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["seen"] += 1
            for parameter in group["params"]:
                if group["seen"] >= 3 and parameter.grad is not None:
                    state = self.state[parameter]
                    moment = torch.zeros_like(parameter, dtype=torch.float64)
                    state.setdefault("moments", {"first": [moment], "count": (0, None)})
                    state["moments"]["first"][0].mul_(0.9).add_(parameter.grad.double())
                    state["moments"]["count"] = (state["moments"]["count"][0] + 1, None)
                    parameter -= (group["lr"] * state["moments"]["first"][0].sign()).to(parameter.dtype)


class Probing(torch.optim.Optimizer):
    """Asks for losses alone; what it holds for no parameter is beside and among the parameters' state."""

    closure = "loss"

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 1e-3})
        self.generator = torch.Generator().manual_seed(3)
        self.state["probes"] = {"count": 0}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: Any) -> None:
        self.generator.set_state(state_dict["generator"])
        super().load_state_dict({key: state_dict[key] for key in ("state", "param_groups")})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        parameters = self.param_groups[0]["params"]
        drawn = [torch.randn(p.shape, generator=self.generator).to(p) for p in parameters]
        self.state["probes"]["count"] += 1
        losses = []
        for sign in (1.0, -2.0):
            for parameter, direction in zip(parameters, drawn, strict=True):
                parameter.add_(direction, alpha=1e-2 * sign)
            losses.append(closure())
        slope = float(losses[0] - losses[1]) / 2e-2 / self.state["probes"]["count"]
        for parameter, direction in zip(parameters, drawn, strict=True):
            parameter.add_(direction, alpha=1e-2 - self.param_groups[0]["lr"] * slope)
        return losses[0]


class Twice(torch.optim.SGD):
    """Asks for gradients at two points a step, and keeps momentum."""

    closure = "gradient"

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        super().step(closure)
        return super().step(closure)


Make = Callable[[Any], torch.optim.Optimizer]
Resumes = Callable[[Callable[[], Any], int, Path], None]
INNER: dict[str, Make] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.05, amsgrad=True),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.05),
    "late": Late,
    "probing": Probing,
    "twice": lambda parameters: Twice(parameters, lr=0.05, momentum=0.9),
}
ROWS = [
    (strategy, inner, 4, torch.float32)
    for strategy, inner in itertools.product(EVERY, INNER)
    if strategy not in TRACKING or inner not in ("probing", "twice")
]
ROWS += [(strategy, inner, 1, torch.float32) for strategy in ("diffusion", "gt-atc") for inner in INNER]
ROWS = [row for row in ROWS if row[2] > 1 or row[0] == "diffusion" or row[1] not in ("probing", "twice")]
ROWS += [(strategy, inner, 4, torch.bfloat16) for strategy in EVERY for inner in ("adamw", "late")]


def made(name: str, inner: Make, communicator: Communicator, dtype: torch.dtype) -> DecentralizedProcedure:
    torch.manual_seed(0)
    options = GradientOptions(steps=STEPS, device="cpu")
    task: Any = Waves(dtype)
    strategy = getattr(strategies, name.replace("-", "_"))()
    optimizer = agents_from(
        task.build_model(), lambda model: inner(model.parameters()), strategy, communicator, unsuited="warn"
    )
    return DecentralizedProcedure(options, task, optimizer)


@pytest.mark.filterwarnings("ignore:strategy .* corrects nothing")
@pytest.mark.parametrize(
    ("strategy", "inner", "agents", "dtype"),
    ROWS,
    ids=[f"{s}-{i}-{n}{'-bfloat16' if d is torch.bfloat16 else ''}" for s, i, n, d in ROWS],
)
def test_what_is_resumed_is_what_was_not_stopped(
    strategy: str, inner: str, agents: int, dtype: torch.dtype, tmp_path: Path, assert_resumes: Resumes
) -> None:
    def fresh() -> DecentralizedProcedure:
        communicator = StackedCommunicator(ring(agents, lazy=True), path="differences")
        return made(strategy, INNER[inner], communicator, dtype)

    assert_resumes(fresh, STEPS, tmp_path)


FAULTS = {
    "delay": Faults(delay=1),
    "compressed": Faults(compressor="8-bit"),
    "link-loss": Faults(link_loss=0.3),
    "isolated": Faults(isolate=[1], isolate_from=1, isolate_to=3),
    "all": Faults(compressor="top-k", share=0.3, delay=1, link_loss=0.2, isolate=[0], isolate_to=5),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_faults_go_on_where_they_were(faults: Faults, tmp_path: Path, assert_resumes: Resumes) -> None:
    def fresh() -> DecentralizedProcedure:
        graphs = faults.graphs(ring(4, lazy=True))
        communicator = faults.communicator(StackedCommunicator(graphs, path="differences"))
        return made("gt-atc", INNER["adamw"], communicator, torch.float32)

    assert_resumes(fresh, STEPS, tmp_path)


@pytest.mark.parametrize(
    ("now", "graphs"),
    [
        (Faults(delay=1), ring(4, lazy=True)),
        (Faults(compressor="8-bit", delay=1), ring(4, lazy=True)),
        (Faults(compressor="8-bit"), torus(4, lazy=True)),
    ],
    ids=["delay", "delay-around-it", "other-links"],
)
def test_a_memory_of_other_faults_or_links_is_refused(now: Faults, graphs: Any, tmp_path: Path) -> None:
    def fresh(faults: Faults, graphs: Any) -> DecentralizedProcedure:
        communicator = faults.communicator(StackedCommunicator(graphs, path="differences"))
        return made("gt-atc", INNER["sgd"], communicator, torch.float32)

    before = fresh(Faults(compressor="8-bit"), ring(4, lazy=True))
    before.start(0)
    before.step()
    checkpoints = AgentCheckpoints(tmp_path, before._communicator)
    checkpoints.save(1, TrainingState(before))
    checkpoint = checkpoints.newest()
    assert checkpoint is not None
    with pytest.raises(GraftworkError, match=r"depends on what was sent before, .*go on with the \[faults\]"):
        TrainingState(fresh(now, graphs)).restore(checkpoint)
