"""What every process of the tests of ranks runs, see forked.py.

Each check compares a run of several processes with one of this process alone and writes what it found as
JSON; the assertions are in test_ranks.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from graftwork import GraftworkError
from graftwork_optim_core.lozo import LOZO, LOZOM
from graftwork_optim_core.mezo import MeZO
from graftwork_optim_core.zeroth_order import sites
from graftwork_optim_core.zeroth_order.replay import read_log

# So that the wide table is drawn piece by piece, as large weights without factors are.
sites.LARGEST_HELD = 50

# Two intervals, and the check of every fourth step.
STEPS = 6
METHODS: dict[str, Callable[..., Any]] = {
    "inplace": lambda params, **options: LOZOM(params, **{"backend": "inplace", "interval": 3, **options}),
    "sidepath": lambda params, **options: LOZO(params, **{"backend": "sidepath", "interval": 3, **options}),
    "dual": lambda params, **options: LOZOM(params, **{"backend": "dual", "interval": 3, **options}),
    "mezo": lambda params, **options: MeZO(params, **options),
}


def dtypes_of(name: str) -> list[torch.dtype]:
    """In which a method is run: single precision is no other path than half, so that one method has it."""
    return [torch.float64, torch.bfloat16, *([torch.float32] if name == "mezo" else [])]


class Model(nn.Module):
    """Rows that do not divide by two or three, a vector, and a head of two rows."""

    def __init__(self, *, head: int = 13) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(12, 11), nn.LayerNorm(11), nn.Linear(11, head)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.down(torch.tanh(self.norm(self.up(inputs))))
        return output


def make_model(dtype: torch.dtype = torch.float64, head: int = 13) -> Model:
    torch.manual_seed(5)
    return Model(head=head).to(dtype)


def batch(step: int, dtype: torch.dtype) -> Tensor:
    """Six samples, which two or three processes can divide."""
    return torch.randn(6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(step)).to(dtype)


def train(
    model: nn.Module,
    optimizer: Any,
    first: int,
    last: int,
    *,
    part: tuple[int, int] = (0, 1),
    attach: bool = True,
) -> None:
    """Train on this process's part of each batch."""
    dtype = next(model.parameters()).dtype
    if attach:
        optimizer.attach(model)
    rank, size = part
    for step in range(first, last):
        samples = batch(step, dtype).chunk(size)[rank]
        optimizer.step(lambda samples=samples: model(samples).square().mean())


def full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def largest_difference(one: nn.Module, two: nn.Module) -> float:
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return max(float((full(a.detach()) - full(b.detach())).abs().max()) for a, b in pairs)


def equal_everywhere(model: nn.Module) -> bool:
    flat = torch.cat([full(parameter.detach()).reshape(-1) for parameter in model.parameters()])
    others = [torch.empty_like(flat) for _ in range(dist.get_world_size())]
    dist.all_gather(others, flat)
    return all(torch.equal(flat, other) for other in others)


class Traffic(TorchDispatchMode):
    """Which collectives are run, in a closure and elsewhere, with how many numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.own: list[tuple[str, int]] = []
        self.within: list[tuple[str, int]] = []
        self.in_closure = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional", "c10d_functional") and "wait" not in func._opname:
            tensors = args[0] if isinstance(args[0], list) else [args[0]]
            count = sum(t.numel() for t in tensors if isinstance(t, Tensor))
            (self.within if self.in_closure else self.own).append((func._opname, count))
        return func(*args, **(kwargs or {}))


def traffic_of_a_step(model: nn.Module, optimizer: Any, samples: Tensor) -> Traffic:
    traffic = Traffic()

    def closure() -> Tensor:
        traffic.in_closure = True
        loss = model(samples).square().mean()
        traffic.in_closure = False
        return loss

    with traffic:
        optimizer.step(closure)
    return traffic


def check_average(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    part = (dist.get_rank(), dist.get_world_size())
    for name, make in METHODS.items():
        for dtype in dtypes_of(name):
            runs = []
            for size in (1, part[1]):
                model = make_model(dtype)
                mode = "none" if size == 1 else "average"
                options = {"lr": 1e-2, "probes": 2 if name == "dual" else 1, "weight_decay": 0.1}
                optimizer = make(model.named_parameters(), data_parallel=mode, check_every=4, **options)
                train(model, optimizer, 0, STEPS, part=(0, 1) if size == 1 else part)
                if size > 1:
                    equal = equal_everywhere(model)
                    traffic = traffic_of_a_step(model, optimizer, batch(STEPS, dtype).chunk(size)[part[0]])
                else:
                    train(model, optimizer, STEPS, STEPS + 1)
                if name != "mezo":
                    optimizer.merge()
                runs.append(model)
            found[f"{name}-{str(dtype).removeprefix('torch.')}"] = {
                "equal": equal and equal_everywhere(runs[1]),
                "difference": largest_difference(*runs),
                "own": traffic.own,
                "within": traffic.within,
            }
    return found


def check_probes(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """A direction a process equals as many probes in one; bitwise equal, also where weights are written."""
    found: dict[str, Any] = {}
    size = dist.get_world_size()
    for name, make in METHODS.items():
        for dtype in dtypes_of(name):
            alone, together = make_model(dtype), make_model(dtype)
            log = folder / f"probes-{name}-{dtype}"
            single = make(alone.named_parameters(), lr=1e-2, probes=2 * size)
            several = make(
                together.named_parameters(),
                **{"lr": 1e-2, "probes": 2, "data_parallel": "probes", "check_every": 1, "log_file": log},
            )
            train(alone, single, 0, STEPS)
            train(together, several, 0, STEPS)
            single.merge()
            several.merge()
            several.log.flush()
            dist.barrier()
            rebuilt = make_model(dtype)
            read_log(log).replay(rebuilt)
            found[f"{name}-{str(dtype).removeprefix('torch.')}"] = {
                "equal": equal_everywhere(together),
                "difference": largest_difference(alone, together),
                "replayed": largest_difference(rebuilt, together),
                "bytes": log.stat().st_size,
            }
    return found


def check_difference(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """A process whose weights differ is found by the check of every third step, and not without it."""
    found: dict[str, Any] = {"steps": 0}
    for every in (0, 3):
        model = make_model()
        if dist.get_rank() == 1:
            with torch.no_grad():
                model.norm.bias[2] += 1e-9
        optimizer = LOZO(
            model.named_parameters(), lr=1e-3, data_parallel="average", check_every=every, backend="inplace"
        )
        try:
            for step in range(4):
                train(model, optimizer, step, step + 1)
                found["steps"] = step + 1
        except GraftworkError as error:
            found["error"] = str(error)
    return found


def sharded(mesh: DeviceMesh, **options: Any) -> Model:
    model = make_model(**options)
    for part in (model.up, model.down):
        fully_shard(part, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def check_fully_shard(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    part = (dist.get_rank(), dist.get_world_size())
    for name, make in METHODS.items():
        for head in (13, 2):
            alone = make_model(head=head)
            options = {"lr": 1e-2, "weight_decay": 0.1, "momentum": 0.5}
            optimizer = make(alone.named_parameters(), **options)
            train(alone, optimizer, 0, STEPS)
            optimizer.merge()
            model = sharded(mesh, head=head)
            optimizer = make(model.named_parameters(), data_parallel="average", check_every=4, **options)
            train(model, optimizer, 0, STEPS, part=part)
            optimizer.merge()
            found[f"{name}-{head}"] = largest_difference(alone, model)
            if head == 13:
                traffic = traffic_of_a_step(
                    model, optimizer, batch(STEPS, torch.float64).chunk(part[1])[part[0]]
                )
                found[f"{name}-own"], found[f"{name}-within"] = traffic.own, traffic.within
    state = optimizer.state[model.up.weight]
    found["rows_here"] = model.down.weight.to_local().shape[0]
    found["placed"] = all(
        list(value.placements) == list(model.up.weight.placements)
        for key, value in state.items()
        if key not in ("step", "right")
    )
    return found


def check_checkpoint(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """Saved by all processes in the middle of an interval, with momentum; test_ranks loads it in one."""
    model = sharded(mesh)
    optimizer = METHODS["inplace"](model.named_parameters(), lr=1e-2)
    train(model, optimizer, 0, 4)
    dcp.save(
        {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)},
        checkpoint_id=str(folder / "checkpoint"),
    )
    resumed = sharded(mesh)
    again = METHODS["inplace"](resumed.named_parameters(), lr=5.0)
    state = {"model": resumed.state_dict(), "optimizer": get_optimizer_state_dict(resumed, again)}
    dcp.load(state, checkpoint_id=str(folder / "checkpoint"))
    resumed.load_state_dict(state["model"])
    set_optimizer_state_dict(resumed, again, state["optimizer"])
    train(model, optimizer, 4, 9)
    train(resumed, again, 4, 9)
    expected = [full(parameter.detach()) for parameter in model.parameters()]
    if dist.get_rank() == 0:
        torch.save(expected, folder / "expected.pt")
    return {"resumed": largest_difference(model, resumed)}


def check_refusal(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    from torch.distributed.tensor import Shard, distribute_tensor

    cut = nn.Parameter(distribute_tensor(torch.zeros(18, 24), mesh, [Shard(1)]))
    try:
        LOZO([("cut", cut)])
    except ValueError as error:
        return {"message": str(error)}
    return {"message": ""}


CHECKS: dict[str, Callable[[DeviceMesh, Path], dict[str, Any]]] = {
    "average": check_average,
    "probes": check_probes,
    "difference": check_difference,
    "fully_shard": check_fully_shard,
    "checkpoint": check_checkpoint,
    "refusal": check_refusal,
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
