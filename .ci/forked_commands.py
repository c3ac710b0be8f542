"""A call of ``graftwork`` in a fork of a process that has imported what most commands need.

Importing torch, transformers and matplotlib takes a command seconds, and says nothing of what it prints. None
of the modules named here looks for plugins or registers anything: that is left to each call.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence

PRELOADED = [
    "matplotlib.figure",
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.utils.tensorboard",
    "transformers.models.llama.modeling_llama",
    "graftwork_decentral.trainers.bilevel",
    "graftwork_decentral.trainers.decentralized",
    "graftwork_optim_core.galore",
    "graftwork_text.tasks.language_model.lm_pretrain",
    "graftwork_trainer.report",
    "graftwork_trainer.standard",
]
"""What the process to fork from imports."""


def run(arguments: Sequence[str], folder: str, output: str, variables: Mapping[str, str]) -> None:
    """Be ``graftwork ARGUMENTS`` in a folder, and end with its exit code; 70 where it raised.

    Args:
        arguments: of the command line.
        folder: to be in.
        output: file for all that is printed.
        variables: of the environment, beside those that there are.
    """
    from graftwork.cli import main

    sys.argv = ["graftwork", *arguments]
    os.environ.update(variables)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    # By lines, as the command sets them, so that both are in the order in which they were written.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
