"""What every process of the distributed tests runs, see forked.py.

Each check compares a sharded run with the same run in this process alone, and writes what it found as JSON;
the assertions are in test_distributed.py.
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
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from graftwork_optim_core import (
    GaLoreAdafactor,
    GaLoreAdamW,
    GoLoreAdamW,
    GoLoreMSGD,
    GWTAdamW,
    GWTMuon,
    SubspaceOptimizer,
    param_groups,
)

LOW_RANK: dict[str, Any] = {"rank": 3, "refresh_every": 3, "lr": 1e-2}
# The head has two rows, no more than the rank: the identity, beside weights that are projected.
FAMILY: dict[str, Callable[..., SubspaceOptimizer]] = {
    "galore-right-gram": partial(GaLoreAdamW, **LOW_RANK, side="right", basis="gram"),
    "galore-left-gram": partial(GaLoreAdamW, **LOW_RANK, side="left", basis="gram"),
    "galore-std-svd": partial(GaLoreAdamW, **LOW_RANK, moments="project"),
    "galore-full-svd": partial(GaLoreAdamW, **LOW_RANK, side="full"),
    "galore-right-power": partial(GaLoreAdamW, **LOW_RANK, side="right", basis="power", stagger=True),
    "galore-left-rsvd": partial(GaLoreAdamW, **LOW_RANK, side="left", basis="rsvd", moments="reset"),
    "galore-adafactor": partial(GaLoreAdafactor, **LOW_RANK, side="right", basis="gram", beta1=0.9),
    "golore-adamw": partial(GoLoreAdamW, **LOW_RANK, total_steps=8, random_last=0.5),
    "golore-msgd": partial(GoLoreMSGD, **LOW_RANK, scale=1.0, random_last=1.0, moments="project"),
    "gwt-muon": partial(GWTMuon, level=1, lr=1e-2),
    "gwt-muon-coarse": partial(GWTMuon, level=1, lr=1e-2, orthogonalize="coarse"),
    "muon-left-coarse": partial(
        SubspaceOptimizer,
        host="muon",
        transform="gram",
        host_options={"orthogonalize": "coarse"},
        transform_options={"rank": 3, "refresh_every": 3, "side": "left"},
        lr=1e-2,
    ),
    "adafactor-full": partial(
        SubspaceOptimizer,
        host="adafactor",
        transform="gram",
        transform_options={"rank": 3, "refresh_every": 3, "side": "full"},
        lr=1e-2,
    ),
    "wavelet-adam8bit": partial(
        SubspaceOptimizer, host="adam8bit", transform="wavelet", foreach=True, lr=1e-2
    ),
    "gwt-db2": partial(GWTAdamW, level=1, lr=1e-2, basis="db2"),
    "wavelet-adafactor": partial(
        SubspaceOptimizer, host="adafactor", transform="wavelet", lr=1e-2, norm_growth_limit=1.01
    ),
    "wavelet-adam-mini": partial(SubspaceOptimizer, host="adam-mini", transform="wavelet", lr=1e-2),
    "random-adam-mini": partial(
        SubspaceOptimizer,
        host="adam-mini",
        transform="random",
        transform_options={"rank": 3, "refresh_every": 3, "side": "left"},
        lr=1e-2,
    ),
}


class Model(nn.Module):
    """Rows that do not divide by three, and an output of two rows, of which a third process has none."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(10, 7), nn.Tanh(), nn.Linear(7, 8, bias=False), nn.Tanh())
        self.head = nn.Sequential(nn.Linear(8, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.head(self.mlp(inputs))
        return output


def make_model() -> Model:
    torch.manual_seed(5)
    return Model().double()


def selected(model: nn.Module) -> list[dict[str, Any]]:
    return param_groups(model, match=("mlp", "head"), report="off")


def make_optimizer(model: nn.Module, **options: Any) -> GWTAdamW:
    return GWTAdamW(selected(model), lr=1e-2, level=2, weight_decay=0.1, **options)


def backward(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(6, 10, dtype=torch.float64, generator=generator)
    (model(inputs).square().mean() * (1 + step % 3)).backward()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        optimizer.zero_grad()
        # The same batch in every process: the mean over processes is then the gradient of one.
        backward(model, step)
        optimizer.step()


def full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def largest_difference(one: nn.Module, two: nn.Module) -> float:
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return max(float((full(a.detach()) - full(b.detach())).abs().max()) for a, b in pairs)


class CountedAllReduces:
    """Counts calls of ``all_reduce`` while it is entered."""

    def __enter__(self) -> CountedAllReduces:
        self.count, self.original = 0, dist.all_reduce

        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            return self.original(*arguments, **options)

        dist.all_reduce = counted
        return self

    def __exit__(self, *_: object) -> None:
        dist.all_reduce = self.original


def sharded(mesh: DeviceMesh) -> Model:
    return fully_shard(make_model(), mesh=mesh)


def check_fully_shard(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    alone, alone_optimizer = make_model(), None
    alone_optimizer = make_optimizer(alone)
    train(alone, alone_optimizer, 0, 8)
    found: dict[str, Any] = {}
    for name, options in {
        "loop": {},
        "foreach": {"foreach": True},
        "capturable": {"capturable": True},
    }.items():
        model = sharded(mesh)
        optimizer = make_optimizer(model, **options)
        train(model, optimizer, 0, 8)
        found[name] = largest_difference(model, alone)
    backward(model, 8)
    with CountedAllReduces() as counted:
        optimizer.step()
    found["all_reduces_a_step"] = counted.count
    state = optimizer.state[model.mlp[0].weight]["exp_avg"]
    found["placements_kept"] = list(state.placements) == list(model.mlp[0].weight.placements)
    found["state_shape"] = list(state.shape)
    found["rows_of_the_head_here"] = model.head[0].weight.to_local().shape[0]
    return found


def check_family(mesh: DeviceMesh, folder: Path, *, every: int = 1) -> dict[str, Any]:
    """Transforms and hosts, sharded, against one process; and a NaN in one process's rows."""
    found: dict[str, Any] = {}
    for name, make in list(FAMILY.items())[::every]:
        runs: list[tuple[Model, SubspaceOptimizer]] = []
        for model in (make_model(), sharded(mesh)):
            runs.append((model, make(selected(model), weight_decay=0.1)))
        for step in range(8):
            for model, optimizer in runs:
                optimizer.zero_grad()
                backward(model, step)
                gradient = model.mlp[0].weight.grad
                if step == 4 and (model is runs[0][0] or dist.get_rank() == 0):
                    (gradient.to_local() if isinstance(gradient, DTensor) else gradient)[0, 0] = torch.nan
                optimizer.step()
        found[name] = largest_difference(runs[0][0], runs[1][0])
        found[f"{name}_skips"] = runs[1][1].nonfinite_skips()
    return found


def check_family_checkpoints(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """Bases and replicated averages: saved by all processes, loaded in two, and once more in one."""
    found: dict[str, Any] = {}
    pair = DeviceMesh("cpu", torch.tensor([0, 1]))
    for name in ("galore-left-gram", "galore-right-power", "golore-adamw", "galore-adafactor"):
        model = sharded(mesh)
        optimizer = FAMILY[name](selected(model))
        train(model, optimizer, 0, 4)
        state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
        dcp.save(state, checkpoint_id=str(folder / name))
        train(model, optimizer, 4, 8)
        expected = [full(parameter.detach()) for parameter in model.parameters()]
        if dist.get_rank() == 0:
            torch.save(expected, folder / f"{name}.pt")
        if dist.get_rank() > 1:
            found[name] = 0.0
            continue
        fewer = sharded(pair)
        fewer_optimizer = FAMILY[name](selected(fewer))
        state = {
            "model": fewer.state_dict(),
            "optimizer": get_optimizer_state_dict(fewer, fewer_optimizer),
        }
        dcp.load(state, checkpoint_id=str(folder / name), process_group=pair.get_group())
        fewer.load_state_dict(state["model"])
        set_optimizer_state_dict(fewer, fewer_optimizer, state["optimizer"])
        train(fewer, fewer_optimizer, 4, 8)
        pairs = zip(fewer.parameters(), expected, strict=True)
        found[name] = max(float((full(one.detach()) - two).abs().max()) for one, two in pairs)
    return found


def check_in_backward(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """Per-parameter mode under fully_shard: the same steps, and no gradient left after the backward pass."""
    found: dict[str, Any] = {}
    for name, make in {
        "gwt": partial(GWTAdamW, lr=1e-2),
        "galore": FAMILY["galore-left-gram"],
    }.items():
        runs = []
        for early in (False, True):
            model = sharded(mesh)
            optimizer = make(selected(model))
            if early:
                optimizer.step_in_backward()
            for step in range(6):
                backward(model, step)
                if early:
                    found[f"{name}_freed"] = all(p.grad is None for p in model.parameters())
                optimizer.step()
                optimizer.zero_grad()
            runs.append(model)
        found[name] = largest_difference(*runs)
    return found


def check_non_finite(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """A NaN in one process's rows must stop the weight in all of them, and nothing else."""
    found: dict[str, Any] = {}
    for name, options in {"loop": {}, "capturable": {"capturable": True}}.items():
        model, alone = sharded(mesh), make_model()
        optimizer, alone_optimizer = make_optimizer(model, **options), make_optimizer(alone, **options)
        for step in range(3):
            optimizer.zero_grad()
            alone_optimizer.zero_grad()
            backward(model, step)
            backward(alone, step)
            if step == 1:
                alone.mlp[0].weight.grad[0, 0] = torch.nan
                if dist.get_rank() == 0:
                    model.mlp[0].weight.grad.to_local()[0, 0] = torch.nan
            optimizer.step()
            alone_optimizer.step()
        found[name] = largest_difference(model, alone)
        found[f"{name}_skips"] = optimizer.nonfinite_skips()
        found[f"{name}_steps"] = float(optimizer.state[model.mlp[0].weight]["step"])
    return found


def check_checkpoint(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """Save in all processes, load in two, and go on as if nothing had happened."""
    model = sharded(mesh)
    optimizer = make_optimizer(model)
    train(model, optimizer, 0, 4)
    dcp.save(
        {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)},
        checkpoint_id=str(folder / "checkpoint"),
    )
    train(model, optimizer, 4, 7)
    expected = [full(parameter.detach()) for parameter in model.parameters()]
    if dist.get_rank() == 0:
        torch.save(expected, folder / "expected.pt")
    pair = DeviceMesh("cpu", torch.tensor([0, 1]))
    if dist.get_rank() > 1:
        return {"pair": 0.0}
    fewer = sharded(pair)
    fewer_optimizer = make_optimizer(fewer)
    state = {"model": fewer.state_dict(), "optimizer": get_optimizer_state_dict(fewer, fewer_optimizer)}
    dcp.load(state, checkpoint_id=str(folder / "checkpoint"), process_group=pair.get_group())
    set_optimizer_state_dict(fewer, fewer_optimizer, state["optimizer"])
    train(fewer, fewer_optimizer, 4, 7)
    pairs = zip(fewer.parameters(), expected, strict=True)
    return {"pair": max(float((full(one.detach()) - two).abs().max()) for one, two in pairs)}


def check_columns(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """Columns may be sharded where no block is cut; otherwise the weight is named."""
    found: dict[str, Any] = {}
    torch.manual_seed(7)
    weight, gradients = torch.randn(5, 22).double(), [torch.randn(5, 22).double() for _ in range(4)]
    finals = []
    for shard in (False, True):
        parameter = nn.Parameter(distribute_tensor(weight, mesh, [Shard(1)]) if shard else weight.clone())
        optimizer = GWTAdamW([("tall", parameter)], level=2)
        for gradient in gradients:
            parameter.grad = distribute_tensor(gradient, mesh, [Shard(1)]) if shard else gradient.clone()
            optimizer.step()
        finals.append(full(parameter.detach()))
    found["difference"] = float((finals[0] - finals[1]).abs().max())
    found["state_shape"] = list(optimizer.state[parameter]["exp_avg"].shape)
    cut = nn.Parameter(distribute_tensor(torch.randn(5, 18), mesh, [Shard(1)]))
    try:
        GWTAdamW([("cut", cut)], level=2)
    except ValueError as error:
        found["refusal"] = str(error)
    return found


CHECKS: dict[str, Callable[[DeviceMesh, Path], dict[str, Any]]] = {
    "fully_shard": check_fully_shard,
    "family": check_family,
    "third_of_the_family": partial(check_family, every=3),
    "family_checkpoints": check_family_checkpoints,
    "in_backward": check_in_backward,
    "non_finite": check_non_finite,
    "checkpoint": check_checkpoint,
    "columns": check_columns,
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
