"""One call of the command line in a process of its own, forked from one that has imported all it needs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import matplotlib.figure
import sklearn.datasets
import torch
import torch._inductor
import torch.distributed.fsdp
import torch.utils.tensorboard

import graftwork_decentral.tasks.image_classification
import graftwork_decentral.trainers.bilevel
import graftwork_decentral.trainers.decentralized
import graftwork_optim_core
import graftwork_trainer.report
import graftwork_trainer.standard
from graftwork.cli import main

torch.set_num_threads(1)


def run(arguments: list[str], output: str) -> None:
    """Call ``graftwork`` and end with its exit code, 70 where it raised.

    Args:
        arguments: of the command line.
        output: file for all that it prints.
    """
    with Path(output).open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc(file=file)
            code = 70
    os._exit(code)


# What is imported for the processes forked from here.
__all__ = [
    "graftwork_decentral",
    "graftwork_optim_core",
    "graftwork_trainer",
    "matplotlib",
    "run",
    "sklearn",
]
