"""Run a job on several processes that are forked from one which has imported everything.

    python forked.py JOB.py WORLD FOLDER [CHECK ...]

Importing torch costs seconds a process; a fork costs nothing. Each process calls ``main(rank, world, folder,
checks)`` of the job, and leaves without Python's shutdown: a DDP wrapper in a reference cycle keeps gloo's
threads alive into it, where one that asks for the interpreter's lock aborts the process. Ends with 1 if one
of them did not return.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from pathlib import Path


def main(path: str, world: int, folder: Path, checks: list[str]) -> int:
    import torch

    # The first optimizer of a process imports it: seconds a fork.
    import torch._dynamo

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("job", path)
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    children = []
    for rank in range(world):
        child = os.fork()
        if child:
            children.append(child)
            continue
        code = 1
        try:
            job.main(rank, world, folder, checks)
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    codes = [os.waitstatus_to_exitcode(status) for status in statuses]
    print(f"exit codes {codes}")
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
