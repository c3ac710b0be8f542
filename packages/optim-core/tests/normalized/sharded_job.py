"""What every process of test_sharded.py runs, see forked.py.

Each check compares a run over several processes with the same run in this process alone, and writes what it
found as JSON; the assertions are there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from graftwork_optim_core.normalized.accelerated import ANSGDC
from graftwork_optim_core.normalized.nsgdc import NSGDC
from graftwork_optim_core.normalized.optimizer import NormalizedOptimizer
from graftwork_optim_core.normalized.variance_reduced import NSGDCVR

COMMON: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.05}
FAMILY: dict[str, Callable[..., NormalizedOptimizer]] = {
    "nsgdc": partial(NSGDC, **COMMON),
    "nsgdc-clip": partial(NSGDC, **COMMON, clip=0.05, coupled_weight_decay=0.1),
    "nsgdc-foreach": partial(NSGDC, **COMMON, clip=0.05, foreach=True),
    "nsgdc-capturable": partial(NSGDC, **COMMON, clip=0.05, capturable=True),
    "nsgdc-per-tensor": partial(NSGDC, **COMMON, norm="per_tensor", clip=0.05),
    "nsgdc-vr": partial(NSGDCVR, **COMMON, clip=0.5),
    "nsgdc-vr-recompute": partial(NSGDCVR, **COMMON, previous="recompute"),
    "nsgdc-vr-capturable": partial(NSGDCVR, **COMMON, capturable=True),
    "a-nsgdc": partial(ANSGDC, **COMMON),
    "a-nsgdc-capturable": partial(ANSGDC, **COMMON, capturable=True, clip=0.05),
}


class Model(nn.Module):
    """Rows that no number of processes divides, and an output of one row, which only one process has."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 7), nn.Tanh(), nn.Linear(7, 5, bias=False), nn.Tanh())
        self.head = nn.Linear(5, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.head(self.body(inputs))
        return output


def make_model() -> Model:
    torch.manual_seed(5)
    return Model().double()


def sharded(mesh: DeviceMesh) -> Model:
    model = make_model()
    fully_shard(model.body, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def inputs_of(step: int, rows: slice = slice(None)) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(6, 10, dtype=torch.float64, generator=generator)[rows]


def take_step(
    model: nn.Module,
    optimizer: NormalizedOptimizer,
    inputs: Tensor,
    step: int,
    spoil: Callable[[], None] = lambda: None,
) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(inputs) - 1).square().mean() * (1 + step % 3)
        loss.backward()
        spoil()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]


def train(model: nn.Module, optimizer: NormalizedOptimizer, first: int, last: int) -> None:
    # The same batch in every process: the mean over processes is then the gradient of one.
    for step in range(first, last):
        take_step(model, optimizer, inputs_of(step), step)


def full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def difference(one: nn.Module, two: nn.Module) -> float:
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return max(float((full(a.detach()) - full(b.detach())).abs().max()) for a, b in pairs)


def check_fully_shard(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """Every optimizer, and in between a NaN in one process's rows, which must stop all of them."""
    found: dict[str, Any] = {}
    for name, make in FAMILY.items():
        alone, model = make_model(), sharded(mesh)
        runs = [(one, make(one.parameters())) for one in (alone, model)]
        runs[1][1].attach(model)
        for step in range(8):
            for one, optimizer in runs:

                def spoil(one: Model = one, step: int = step, alone: Model = alone) -> None:
                    gradient = one.body[0].weight.grad
                    if step == 4 and (one is alone or dist.get_rank() == 0):
                        (gradient.to_local() if isinstance(gradient, DTensor) else gradient)[0, 0] = torch.nan

                take_step(one, optimizer, inputs_of(step), step, spoil)
        found[name] = difference(model, alone)
        found[f"{name} skips"] = runs[1][1].nonfinite_skips()
    return found


def check_data_parallel(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """Whole parameters in every process, each with a part of the batch; gradients are views of buckets."""
    found: dict[str, Any] = {}
    world, rank = dist.get_world_size(), dist.get_rank()
    share = 6 // world
    for name, make in FAMILY.items():
        alone, model = make_model(), make_model()
        wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
        ours, theirs = make(model.parameters()), make(alone.parameters())
        for step in range(6):
            take_step(wrapped, ours, inputs_of(step, slice(rank * share, (rank + 1) * share)), step)
            take_step(alone, theirs, inputs_of(step, slice(0, world * share)), step)
        found[name] = difference(model, alone)
    return found


def check_mixed(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """Rows here, columns there, replicas and plain tensors: everything counts once."""
    found: dict[str, Any] = {}
    torch.manual_seed(7)
    weights = [torch.randn(5, 7).double() for _ in range(4)]
    placements = [[Shard(0)], [Shard(1)], [Replicate()], None]
    gradients = [[torch.randn(5, 7).double() for _ in weights] for _ in range(4)]
    for norm in ("global", "per_tensor"):
        finals = []
        for spread in (False, True):
            parameters = [
                nn.Parameter(
                    distribute_tensor(weight, mesh, placement) if spread and placement else weight.clone()
                )
                for weight, placement in zip(weights, placements, strict=True)
            ]
            optimizer = NSGDC(parameters, lr=0.3, norm=norm)
            for number, step in enumerate(gradients):
                for parameter, gradient, placement in zip(parameters, step, placements, strict=True):
                    placed = (
                        distribute_tensor(gradient, mesh, placement) if spread and placement else gradient
                    )
                    # One of them has no gradient once: its process group must not wait.
                    parameter.grad = None if number == 2 and placement == [Shard(1)] else placed.clone()
                optimizer.step()
            finals.append([full(parameter.detach()) for parameter in parameters])
        pairs = zip(*finals, strict=True)
        found[norm] = max(float((one - two).abs().max()) for one, two in pairs)
    return found


def check_evaluation(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """The way to the iterate and back, with forward passes that gather parameters in between."""
    model, alone = sharded(mesh), make_model()
    ours, theirs = FAMILY["a-nsgdc"](model.parameters()), FAMILY["a-nsgdc"](alone.parameters())
    ours.attach(model)
    evaluated = 0.0
    for step in range(4):
        train(model, ours, step, step + 1)
        train(alone, theirs, step, step + 1)
        for one in (ours, theirs):
            assert isinstance(one, ANSGDC)
            one.eval()
        with torch.no_grad():
            evaluated = max(evaluated, float((model(inputs_of(99)) - alone(inputs_of(99))).abs().max()))
        for one in (ours, theirs):
            assert isinstance(one, ANSGDC)
            one.train()
    return {"evaluated": evaluated, "trained": difference(model, alone)}


def check_checkpoint(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """Save in all processes, go on, and go on from what was saved."""
    found: dict[str, Any] = {}
    for name in ("nsgdc", "nsgdc-vr", "a-nsgdc"):
        model = sharded(mesh)
        optimizer = FAMILY[name](model.parameters())
        train(model, optimizer, 0, 4)
        state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
        dcp.save(state, checkpoint_id=str(folder / name))
        train(model, optimizer, 4, 8)
        if dist.get_rank() == 0:
            found[f"{name} placed"] = "Shard" in str(
                optimizer.state[model.body[0].weight]["momentum_buffer"].placements
            )
        whole = [full(parameter.detach()) for parameter in model.parameters()]
        if dist.get_rank() == 0:
            torch.save(whole, folder / f"{name}.pt")
        again = sharded(mesh)
        resumed = FAMILY[name](again.parameters())
        state = {"model": again.state_dict(), "optimizer": get_optimizer_state_dict(again, resumed)}
        dcp.load(state, checkpoint_id=str(folder / name))
        again.load_state_dict(state["model"])
        set_optimizer_state_dict(again, resumed, state["optimizer"])
        train(again, resumed, 4, 8)
        found[name] = difference(again, model)
    return found


CHECKS = {
    "fully_shard": check_fully_shard,
    "data_parallel": check_data_parallel,
    "mixed": check_mixed,
    "evaluation": check_evaluation,
    "checkpoint": check_checkpoint,
}


def main(rank: int, world: int, folder: Path, chosen: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", store=dist.FileStore(str(folder / "store"), world), rank=rank, world_size=world
    )
    mesh = init_device_mesh("cpu", (world,))
    found = {name: CHECKS[name](mesh, folder) for name in chosen or CHECKS}
    (folder / f"found-{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
