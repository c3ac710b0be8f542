"""One training of a comparison in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from graftwork.plugin_file import plugin_file_arguments
from graftwork_trainer.command_line import for_children

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def graftwork(arguments: Sequence[str], *, processes: int) -> tuple[int, int]:
    """Run ``graftwork``, with the plugin files that this process has, to its end.

    It is in a process group of its own, so that Ctrl-C and whatever else asks this process to stop reach it
    once, from here: it saves when it is asked, and ends at once when it is asked again.

    Args:
        arguments: of the command line.
        processes: ranks, under torchrun where there are several.

    Returns:
        Its exit code, and the number of the signal that this process had meanwhile, 0 for none.
    """
    launcher = ["-m", "graftwork", *plugin_file_arguments()]
    if processes > 1:
        launcher = [
            "-m",
            "graftwork_trainer.launch",
            "--standalone",
            f"--nproc-per-node={processes}",
            *launcher,
        ]
    # What lies in the current folder is executed neither by Graftwork nor by torchrun.
    environment = {**os.environ, **for_children(), "PYTHONSAFEPATH": "1"}
    with (
        subprocess.Popen(
            [sys.executable, *launcher, *arguments], env=environment, process_group=0
        ) as process,
        _signals_passed_on(process) as received,
    ):
        code = process.wait()
    return code, received[0] if received else 0


@contextmanager
def _signals_passed_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Give to a process the signals that this one gets; yield their numbers."""
    received: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        received.append(number)
        process.send_signal(number)

    # What is ignored, as SIGHUP is under nohup, the child ignores too.
    before = {number: signal.getsignal(number) for number in _PASSED_ON}
    caught = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, pass_on)
    try:
        yield received
    finally:
        for number in caught:
            signal.signal(number, before[number])
