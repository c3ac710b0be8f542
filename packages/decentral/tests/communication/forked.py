"""Run jobs on several processes that are forked from one which has imported everything.

    python forked.py JOB.py [SCENARIOS.json]

Importing torch costs seconds a process; a fork costs nothing. Without a file of scenarios the standard input
names one a line. Each scenario is a JSON object: ``world`` says how many processes, ``restart`` which of them
are started again once after they died. Each process runs ``main(scenario)`` of the job with the variables of
a launcher. The store is hosted by a process of its own. Prints a JSON list a file: for every scenario the
exit codes by process, -99 for one that was stopped or took too long, and the seconds that it took.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def run(job: Any, scenario: dict[str, Any], limit: float) -> dict[str, Any]:
    from torch._C._distributed_c10d import TCPStore

    from graftwork_decentral.communication.store import ENDED

    reader, writer = os.pipe()
    host = os.fork()
    if host == 0:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        os.write(writer, f"{store.port}\n".encode())
        while True:
            time.sleep(60)
    port = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    client = TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False)
    begun, world = time.monotonic(), scenario["world"]

    def start(rank: int) -> int:
        child = os.fork()
        if child:
            return child
        os.environ.update(
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            RANK=str(rank),
            WORLD_SIZE=str(world),
            TORCHELASTIC_USE_AGENT_STORE="True",
        )
        code = 1
        try:
            job.main(scenario)
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)

    running = {rank: start(rank) for rank in range(world)}
    codes: dict[int, list[int]] = {rank: [] for rank in range(world)}
    stopped: set[int] = set()
    while running.keys() - stopped and time.monotonic() - begun < limit:
        for rank, child in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
            if not ended:
                continue
            if os.WIFSTOPPED(status):
                stopped.add(rank)
                continue
            del running[rank]
            codes[rank].append(os.waitstatus_to_exitcode(status))
            if scenario.get("told", True):
                client.add(ENDED.format(process=rank), 1)
            if rank in scenario.get("restart", []) and len(codes[rank]) == 1:
                running[rank] = start(rank)
        time.sleep(0.02)
    seconds = time.monotonic() - begun
    for rank, child in running.items():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        codes[rank].append(-99)
    os.kill(host, signal.SIGKILL)
    os.waitpid(host, 0)
    return {"codes": codes, "seconds": seconds}


def main() -> None:
    import torch

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("job", sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    # What the processes print to the standard output must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for file in sys.argv[2:] or map(str.strip, sys.stdin):
        scenarios = json.loads(Path(file).read_text())
        ended = [run(job, scenario, scenario.get("limit", 60.0)) for scenario in scenarios]
        print(json.dumps(ended), file=answers, flush=True)


if __name__ == "__main__":
    main()
