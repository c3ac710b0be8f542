"""Run by torchrun: whole, and stopped and resumed; every process writes what it ended with."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from small_runs import STOP, resumed, trained, weights

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    # Two processes make one batch of two halves.
    parallel = {"devices": 2, "strategy": "ddp", "accumulate_grad_batches": 1}
    chosen = ("gwt-adamw", {"level": 2, "report": "off"})
    whole = trained(folder / "whole", *chosen, **parallel)
    trained(folder / "stopped", *chosen, stop_after=STOP, **parallel)
    later = resumed(folder / "stopped", *chosen, **parallel)
    (optimizer,) = whole.trained_by.optimizers
    result = {
        "strategy": type(whole.trained_by.strategy).__name__,
        "world_size": whole.trained_by.world_size,
        "losses": whole.losses,
        "weights": weights(whole),
        "resumed": weights(later),
        "state": optimizer.state_dict()["state"],
    }
    torch.save(result, folder / f"{whole.trained_by.global_rank}.pt")
    torch.distributed.destroy_process_group()
