"""What every process of test_contract_distributed.py runs, see forked.py: optimizers under DDP and FSDP2.

Writes ``FOLDER/found-RANK.json``: for every optimizer by how much its weights differ from those of one
process that saw the whole batch.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from graftwork import get_registry

STEPS = 6
LOW_RANK = {"rank": 2, "refresh_every": 3}
OPTIONS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9},
    "galore-adamw": LOW_RANK,
    "galore-adamw8bit": LOW_RANK,
    "galore-adafactor": LOW_RANK,
    "golore-adamw": {**LOW_RANK, "random_last": 0.5, "total_steps": STEPS},
    "golore-msgd": {**LOW_RANK, "random_last": 0.5, "total_steps": STEPS},
    "lozo": {"rank": 1, "interval": 4},
    "lozo-m": {"rank": 1, "interval": 4},
}


class Model(nn.Module):
    """Rows that do not divide among three processes, a table, a norm and biases."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6)
        self.first = nn.Linear(6, 11)
        self.norm = nn.LayerNorm(11)
        self.second = nn.Linear(11, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.second(self.norm(torch.tanh(self.first(self.table(tokens)))))
        return output


def make_model() -> Model:
    torch.manual_seed(5)
    return Model().double()


def batch_of(step: int, world: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randint(0, 7, (2 * world, 4), generator=generator)


def train(optimizer: Any, model: nn.Module, tokens_of: Callable[[int], Tensor]) -> None:
    """Make the steps, in the way that the optimizer's ``closure`` attribute asks for."""
    kind = getattr(optimizer, "closure", None)
    for step in range(STEPS):
        tokens = tokens_of(step)

        def loss(tokens: Tensor = tokens) -> Tensor:
            value: Tensor = model(tokens).square().mean()
            return value

        def with_gradients(loss: Callable[[], Tensor] = loss) -> Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        if kind is None:
            with_gradients()
            optimizer.step()
        else:
            optimizer.step(loss if kind == "loss" else with_gradients)
    if hasattr(optimizer, "merge"):
        optimizer.merge()


def selected(target: Any, model: nn.Module) -> list[Any]:
    """Return the parameters as a recipe gives them: by the optimizer's own selection where it has one."""
    select = getattr(target, "select_parameters", None)
    if select is None:
        return list(model.named_parameters())
    known = inspect.signature(select).parameters
    wanted = {"match": "all-linear", "report": "off"}
    return list(select(model, **{key: value for key, value in wanted.items() if key in known}))


def built(target: Any, name: str, model: nn.Module, *, together: bool) -> Any:
    options = dict(OPTIONS.get(name, {}))
    if together and "data_parallel" in inspect.signature(target).parameters:
        options["data_parallel"] = "average"
    optimizer = target(selected(target, model), lr=1e-2, **options)
    if hasattr(optimizer, "attach"):
        optimizer.attach(model)
    return optimizer


def whole(parameter: Tensor) -> Tensor:
    detached = parameter.detach()
    return detached.full_tensor() if isinstance(detached, DTensor) else detached


def difference(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((whole(a) - whole(b)).abs().max()) for a, b in pairs)


def check(target: Any, name: str, rank: int, world: int) -> dict[str, float]:
    alone = make_model()
    train(built(target, name, alone, together=False), alone, lambda step: batch_of(step, world))

    def own(step: int) -> Tensor:
        return batch_of(step, world)[2 * rank : 2 * rank + 2]

    replicated = make_model()
    optimizer = built(target, name, replicated, together=True)
    forward_only = getattr(optimizer, "closure", None) == "loss"
    wrapped = replicated if forward_only else nn.parallel.DistributedDataParallel(replicated)
    train(optimizer, wrapped, own)
    sharded = copy.deepcopy(make_model())
    mesh = init_device_mesh("cpu", (world,))
    for module in (sharded.first, sharded.second, sharded):
        fully_shard(module, mesh=mesh)
    train(built(target, name, sharded, together=True), sharded, own)
    return {"ddp": difference(replicated, alone), "fsdp": difference(sharded, alone)}


def main(rank: int, world: int, folder: Path, chosen: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", store=dist.FileStore(str(folder / "store"), world), rank=rank, world_size=world
    )
    registry = get_registry()
    found = {
        entry.component.name: check(registry.resolve(entry), entry.component.name, rank, world)
        for entry in registry.entries("optimizer")
        if entry.component.name in chosen
    }
    (folder / f"found-{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
