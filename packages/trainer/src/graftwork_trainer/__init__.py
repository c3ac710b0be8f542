"""Graftwork's training floor: one loop on torch, run directories that resume to the bit, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.lazy import lazy_names

if TYPE_CHECKING:
    from graftwork_trainer.checkpoint import Checkpoints
    from graftwork_trainer.data.batches import StepBatches
    from graftwork_trainer.data.order import EndlessBatches, Examples, OrderedBatches
    from graftwork_trainer.device import choose_device, move
    from graftwork_trainer.evaluation import evaluate, evaluation_mode
    from graftwork_trainer.from_python import train
    from graftwork_trainer.loop import drive
    from graftwork_trainer.options import GradientOptions, LoopOptions
    from graftwork_trainer.parallel import World
    from graftwork_trainer.procedure import Procedure, StepOutcome
    from graftwork_trainer.report import read_run, write_report
    from graftwork_trainer.run_directory import RunDirectory
    from graftwork_trainer.standard import StandardTrainer
    from graftwork_trainer.step_rule import StepRule
    from graftwork_trainer.training import Trained

__all__ = [
    "train",
    "Trained",
    "StandardTrainer",
    "LoopOptions",
    "GradientOptions",
    "Procedure",
    "StepOutcome",
    "drive",
    "StepRule",
    "StepBatches",
    "Examples",
    "EndlessBatches",
    "OrderedBatches",
    "World",
    "choose_device",
    "move",
    "evaluate",
    "evaluation_mode",
    "RunDirectory",
    "Checkpoints",
    "read_run",
    "write_report",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Checkpoints": "checkpoint",
        "EndlessBatches": "data.order",
        "Examples": "data.order",
        "GradientOptions": "options",
        "LoopOptions": "options",
        "OrderedBatches": "data.order",
        "Procedure": "procedure",
        "RunDirectory": "run_directory",
        "StandardTrainer": "standard",
        "StepBatches": "data.batches",
        "StepOutcome": "procedure",
        "StepRule": "step_rule",
        "World": "parallel",
        "choose_device": "device",
        "drive": "loop",
        "evaluate": "evaluation",
        "evaluation_mode": "evaluation",
        "move": "device",
        "read_run": "report",
        "Trained": "training",
        "train": "from_python",
        "write_report": "report",
    },
)
