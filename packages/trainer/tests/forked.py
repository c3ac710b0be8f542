"""``graftwork`` in processes that are forked from one which has imported everything.

    python forked.py SOCKET

Importing torch costs seconds a process; a fork costs nothing. Each message on the inherited socket asks for
one command: a JSON object of its ``arguments``, ``folder``, ``environment`` and number of ``ranks``, with the
descriptors of its output, of its errors, and of a socket that is answered with the process group and the exit
code. Several ranks get what torchrun gives them: its variables, a store that outlives them, and SIGTERM for
the others when one has failed.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from typing import Any

import torch
from torch._C._distributed_c10d import TCPStore

import graftwork_trainer.standard
from graftwork.cli import main as graftwork


def serve(asked: socket.socket) -> None:
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, 1 << 18, 3)
        if not message:
            return
        if os.fork() == 0:
            asked.close()
            keep(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def keep(command: dict[str, Any], output: int, errors: int, answer: int) -> None:
    """Start the command's processes, and answer with the exit code of the first that failed."""
    os.setsid()
    os.write(answer, str(os.getpid()).encode())
    for descriptor, number in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (errors, 2)):
        os.dup2(descriptor, number)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)
    host, launcher = _store(command["ranks"]) if command["ranks"] > 1 else (None, {})
    running = set()
    for rank in range(command["ranks"]):
        child = os.fork()
        if child == 0:
            os.close(answer)
            if launcher:
                os.environ.update(launcher, RANK=str(rank), LOCAL_RANK=str(rank))
            _end_as(command["arguments"])
        running.add(child)
    code = 0
    while running:
        ended, status = os.wait()
        if ended not in running:
            continue
        running.remove(ended)
        if status and not code:
            code = os.waitstatus_to_exitcode(status)
            _end(running)
    if host is not None:
        os.kill(host, signal.SIGKILL)
        os.waitpid(host, 0)
    with suppress(BrokenPipeError):  # nobody waits any more
        os.write(answer, str(code).encode())
    os._exit(0)


def _end(running: set[int]) -> None:
    """As torchrun ends them: asked to, and killed half a minute later."""

    def kill(*_: object) -> None:
        for process in running:
            os.kill(process, signal.SIGKILL)

    for process in running:
        os.kill(process, signal.SIGTERM)
    signal.signal(signal.SIGALRM, kill)
    signal.alarm(30)


def _end_as(arguments: list[str]) -> None:
    """Run the command and leave without freeing, page by page, what is shared with the others."""
    code: Any = 1
    try:
        code = graftwork(arguments)
    except SystemExit as exit:
        code = exit.code
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def _store(world: int) -> tuple[int, dict[str, str]]:
    """A process that hosts a store, and a launcher's variables that lead to it."""
    reader, writer = os.pipe()
    host = os.fork()
    if host == 0:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        os.write(writer, str(store.port).encode())
        while True:
            time.sleep(60)
    port = os.read(reader, 20).decode()
    os.close(reader)
    os.close(writer)
    return host, {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


# What is imported for the processes forked from here.
__all__ = ["graftwork_trainer"]

if __name__ == "__main__":
    del sys.path[0]  # this folder, which a command of its own would not have there
    # Its caller asks for one thread by OMP_NUM_THREADS: torch.set_num_threads would make a pool, which every
    # forked process makes again, and aborts where two of its threads do so at once.
    # The first optimizer of a process loads torch's compiler.
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)
