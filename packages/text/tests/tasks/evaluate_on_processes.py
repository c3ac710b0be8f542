"""Evaluate tasks alone and on several processes; rank 0 writes both metrics of each.

Called with a JSON file of tasks (name, options, whether to shard the model too), a folder, and numbers of
processes, of each of which the folder gets a file ``N.json``. All are forked from this one: importing torch
costs seconds.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from graftwork import choose
from graftwork_trainer.evaluation import evaluate
from graftwork_trainer.parallel import World, process_group


@dataclass(frozen=True)
class Prepared:
    """A task with a model of it, its metrics in one process, and the ways of spreading it over several."""

    label: str
    task: Any
    model: torch.nn.Module
    alone: Mapping[str, float]
    ways: Sequence[str]


def trained(task: Any) -> torch.nn.Module:
    """The task's model; it has learnt enough to be right at times."""
    torch.manual_seed(0)
    model: torch.nn.Module = task.build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for batch in itertools.islice(task.batches("train", rank=0, world_size=1, seed=0), 40):
        optimizer.zero_grad()
        task.loss(model, batch)[0].backward()
        optimizer.step()
    return model


def prepared(given: Path) -> Iterator[Prepared]:
    """The tasks of a file, trained and evaluated alone."""
    for label, (name, options, sharded) in json.loads(given.read_text()).items():
        task = choose("task", name, options)()
        model = trained(task)
        yield Prepared(label, task, model, evaluate(task, model), ("ddp", "fsdp") if sharded else ("ddp",))


def measure(tasks: Sequence[Prepared], output: Path) -> None:
    """Be one of the processes."""
    found = {}
    with process_group(timeout_seconds=120):
        for one in tasks:
            for parallel in one.ways:
                world = World.current("cpu", parallel)
                together = evaluate(one.task, world.place(copy.deepcopy(one.model)), world=world)
                everywhere = [None] * world.size
                dist.all_gather_object(everywhere, together)
                assert everywhere == [together] * world.size
                found[f"{one.label} {parallel}"] = [one.alone, together]
        if dist.get_rank() == 0:
            output.write_text(json.dumps(found))


def run(tasks: Sequence[Prepared], output: Path, processes: int) -> bool:
    """Measure on as many processes, and return whether all of them came to their end."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(store.port),
        WORLD_SIZE=str(processes),
        LOCAL_WORLD_SIZE=str(processes),
        TORCHELASTIC_USE_AGENT_STORE="True",
    )
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            try:
                measure(tasks, output)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children] == [0] * processes


if __name__ == "__main__":
    ready = list(prepared(Path(sys.argv[1])))
    folder = Path(sys.argv[2])
    sys.exit(not all(run(ready, folder / f"{count}.json", int(count)) for count in sys.argv[3:]))
