"""A training of the tests of several processes, as one of them; run by communication/forked.py."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from graftwork import build_recipe, get_registry, parse_set
from graftwork_decentral.trainers import bilevel, decentralized  # noqa: F401, loaded before processes are forked
from graftwork_trainer import train
from graftwork_trainer.checkpoint import Checkpoints
from graftwork_trainer.trackers import TensorBoard  # noqa: F401, as are these

# The first optimizer of a process loads torch's compiler.
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])


def main(scenario: dict[str, Any]) -> None:
    """Train a recipe; stop or kill a process ``before`` or ``after`` its checkpoint of a step."""
    torch.set_num_threads(1)
    sys.path.insert(0, scenario["plugins"])
    get_registry.cache_clear()
    if kill := scenario.get("kill", {}).get(os.environ["RANK"]):
        _kill(*kill)
    overrides = [parse_set(f"{key}={value}") for key, value in scenario["options"].items()]
    recipe = build_recipe(scenario["recipe"], overrides=overrides).resolve()
    train(recipe, Path(scenario["run"]), resume=scenario["resume"], quiet=True)


def _kill(when: str, step: int, how: str = "SIGKILL") -> None:
    save = Checkpoints.save

    def killed(self: Checkpoints, at: int, *arguments: Any) -> Path:
        for moment in ("before", "after"):
            if at == step and moment == when:
                os.kill(os.getpid(), signal.Signals[how])
            if moment == "before":
                path = save(self, at, *arguments)
        return path

    Checkpoints.save = killed  # type: ignore[method-assign]
