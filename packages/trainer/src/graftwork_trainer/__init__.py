"""Graftwork's standard trainer: one loop on torch, run directories that resume to the bit, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.lazy import lazy_names

if TYPE_CHECKING:
    from graftwork_trainer.checkpoint import Checkpoints
    from graftwork_trainer.commands.train import train
    from graftwork_trainer.report import read_run, write_report
    from graftwork_trainer.run_directory import RunDirectory
    from graftwork_trainer.standard import StandardTrainer

__all__ = ["train", "StandardTrainer", "RunDirectory", "Checkpoints", "read_run", "write_report"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Checkpoints": "checkpoint",
        "RunDirectory": "run_directory",
        "StandardTrainer": "standard",
        "read_run": "report",
        "train": "commands.train",
        "write_report": "report",
    },
)
