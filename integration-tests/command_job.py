"""``graftwork`` as one of several processes, which decentral's forked.py forks from one warm one."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch

import graftwork_decentral.trainers.bilevel
import graftwork_decentral.trainers.decentralized
import graftwork_text.tasks.language_model.lm_pretrain
import graftwork_trainer.standard
from graftwork.cli import main as graftwork

# The first optimizer of a process loads torch's compiler.
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])


def main(scenario: dict[str, Any]) -> None:
    """Call ``graftwork`` with the scenario's ``arguments`` in its ``folder``; ``plugins`` are found too."""
    torch.set_num_threads(1)
    sys.path[:0] = scenario["plugins"]
    os.chdir(scenario["folder"])
    code = graftwork(scenario["arguments"])
    if code:
        raise SystemExit(code)


# What is imported for the processes forked from here.
__all__ = ["graftwork_decentral", "graftwork_text", "graftwork_trainer", "main"]
