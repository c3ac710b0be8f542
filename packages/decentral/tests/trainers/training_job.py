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
from graftwork_decentral.trainers.decentralized_procedure import DecentralizedProcedure
from graftwork_trainer import train
from graftwork_trainer.checkpoint import Checkpoints
from graftwork_trainer.trackers import TensorBoard  # noqa: F401, as are these

# The first optimizer of a process loads torch's compiler.
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])


def main(scenario: dict[str, Any]) -> None:
    """Train a recipe; end a process ``before`` or ``after`` its checkpoint of a step, or ``evaluating``."""
    torch.set_num_threads(1)
    sys.path.insert(0, scenario["plugins"])
    get_registry.cache_clear()
    if kill := scenario.get("kill", {}).get(os.environ["RANK"]):
        _kill(*kill)
    overrides = [parse_set(f"{key}={value}") for key, value in scenario["options"].items()]
    recipe = build_recipe(scenario["recipe"], overrides=overrides).resolve()
    train(recipe, Path(scenario["run"]), resume=scenario["resume"], quiet=True)


def _kill(when: str, step: int, how: str = "SIGKILL") -> None:
    def end() -> None:
        os.kill(os.getpid(), signal.Signals[how])

    save, evaluate = Checkpoints.save, DecentralizedProcedure.evaluate

    def saves(self: Checkpoints, at: int, *arguments: Any) -> Path:
        if (when, at) == ("before", step):
            end()
        path = save(self, at, *arguments)
        if (when, at) == ("after", step):
            end()
        return path

    def evaluates(self: DecentralizedProcedure) -> dict[str, float]:
        if (when, self.position) == ("evaluating", step):
            end()
        return evaluate(self)

    Checkpoints.save = saves  # type: ignore[method-assign, assignment]
    DecentralizedProcedure.evaluate = evaluates  # type: ignore[method-assign]
