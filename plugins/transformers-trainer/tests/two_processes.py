"""Run by torchrun: whole, and stopped and resumed; every process writes what it ended with."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import transformers
from small_runs import GWT, STOP, losses, resumed, trained, weights

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    # Two processes make one batch of two halves.
    options = {**GWT, "changes": {"ddp_backend": "gloo", "gradient_accumulation_steps": 1}}
    whole = trained(folder / "whole", **options)
    # transformers 4 cannot load any optimizer's state in several processes on CPUs.
    resumes = not transformers.__version__.startswith("4.")
    if resumes:
        trained(folder / "stopped", stop_after=STOP, **options)
    later = resumed(folder / "stopped", **options) if resumes else whole
    result = {
        "world_size": whole.args.world_size,
        "wrapped": type(whole.model_wrapped).__name__,
        "losses": losses(whole),
        "weights": weights(whole),
        "resumed": weights(later),
        "state": whole.optimizer.state_dict()["state"],
    }
    torch.save(result, folder / f"{whole.args.process_index}.pt")
    torch.distributed.destroy_process_group()
