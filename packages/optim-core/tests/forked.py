"""Run jobs on several processes that are forked from one which has imported everything.

    python forked.py

Importing torch costs seconds a process; a fork costs nothing. Each line of the standard input is a request,
``{"job": FILE, "world": PROCESSES, "folder": FOLDER, "checks": [CHECK, ...]}``, and is answered with a line,
``{"code": 0 where all of them returned, "output": what they printed}``.

Each process calls ``main(rank, world, folder, checks)`` of the job, and leaves without Python's shutdown: a
DDP wrapper in a reference cycle keeps gloo's threads alive into it, where one that asks for the interpreter's
lock aborts the process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 300


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request; its job is loaded in a process of its own, for what it sets is its own."""
    with tempfile.TemporaryFile("w+") as output:

        def forked(work: Callable[[], None]) -> int:
            child = os.fork()
            if child:
                return child
            code = 1
            try:
                signal.alarm(LIMIT_SECONDS)
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

        def load_and_start() -> None:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            spec = importlib.util.spec_from_file_location("job", request["job"])
            assert spec is not None
            assert spec.loader is not None
            job = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(job)
            world, folder = request["world"], Path(request["folder"])
            children = [
                forked(partial(job.main, rank, world, folder, request["checks"])) for rank in range(world)
            ]
            codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
            print(f"exit codes {codes}")
            if any(codes):
                raise SystemExit(f"a process of {request['job']} failed")

        code = os.waitstatus_to_exitcode(os.waitpid(forked(load_and_start), 0)[1])
        output.seek(0)
        return {"code": code, "output": output.read()}


def main() -> None:
    import torch

    # The first optimizer of a process imports the compiler, and the jobs import the rest: seconds each.
    import torch._dynamo
    import torch.distributed.checkpoint.state_dict
    import torch.distributed.fsdp
    import torch.distributed.tensor

    import graftwork_optim_core  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
