"""Evaluate tasks alone and on all processes that torchrun started; rank 0 writes both metrics of each.

Called with a JSON file of tasks (name, options, whether to shard the model too) and the file to write.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from graftwork import choose
from graftwork_trainer.evaluation import evaluate
from graftwork_trainer.parallel import World, process_group


def trained(task: Any) -> torch.nn.Module:
    """The task's model, the same in each process; it has learnt enough to be right at times."""
    torch.manual_seed(0)
    model: torch.nn.Module = task.build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for batch in itertools.islice(task.batches("train", rank=0, world_size=1, seed=0), 40):
        optimizer.zero_grad()
        task.loss(model, batch)[0].backward()
        optimizer.step()
    return model


def main(given: Path, output: Path) -> None:
    torch.set_num_threads(1)
    found = {}
    with process_group(timeout_seconds=120):
        for label, (name, options, sharded) in json.loads(given.read_text()).items():
            for parallel in ("ddp", "fsdp") if sharded else ("ddp",):
                task = choose("task", name, options)()
                model = trained(task)
                alone = evaluate(task, model)
                world = World.current("cpu", parallel)
                together = evaluate(task, world.place(model), world=world)
                everywhere = [None] * world.size
                dist.all_gather_object(everywhere, together)
                assert everywhere == [together] * world.size
                found[f"{label} {parallel}"] = [alone, together]
        if dist.get_rank() == 0:
            output.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
