"""Start the processes of a decentralized run; when one dies the others go on.

    python -m graftwork_decentral.launch --processes 6 [--restart] -- -m graftwork train RECIPE

``torchrun`` ends everybody when one process ends. This launcher does not: it hosts the store through which
processes agree (so that no process is needed for the others to go on), tells them at once when one has ended,
and with ``--restart`` starts it again, as one that rejoins. What comes after ``--`` is given to Python.

It exits with 0 where at least one process did and the number of those that were lost for good is at most
``--tolerate`` (all but one unless given), else with 1; the last line says who ended how. Ctrl-C and other
signals that ask it to stop are passed on to all, which save; it then exits with 128 + the signal's number.
"""

from graftwork.current_folder import leave_out_of_dash_m

if __name__ == "__main__":
    leave_out_of_dash_m()  # before anything is imported that may lie there

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

_PAUSE = 0.05
_GRACE_SECONDS = 10.0
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Launch:
    """Processes, the store that they share, and how each ended.

    Args:
        command: arguments for Python.
        processes: how many.
        host: address of the store, as the processes see it.
        port: of the store; 0 for a free one.
        restarts: how often one process is started again.
    """

    def __init__(
        self,
        command: Sequence[str],
        processes: int,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        restarts: int = 0,
    ) -> None:
        # Not before it is needed: a mistake on the command line is then answered at once.
        from torch._C._distributed_c10d import TCPStore

        if processes < 1:
            raise ValueError(f"processes must be at least 1, got {processes}")
        self.command, self.processes, self.restarts = tuple(command), processes, restarts
        self.host = host
        self.store = TCPStore(host, port, is_master=True, wait_for_workers=False)
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.ends: dict[int, list[int]] = {number: [] for number in range(processes)}
        self.asked = 0

    def start(self, number: int) -> None:
        """Start one process.

        Args:
            number: of the process.
        """
        environment = {
            **os.environ,
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(self.store.port),
            "RANK": str(number),
            "LOCAL_RANK": str(number),
            "WORLD_SIZE": str(self.processes),
            "LOCAL_WORLD_SIZE": str(self.processes),
            # With this the rendezvous of torch takes the store that is there, rather than to host one.
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        environment.setdefault("OMP_NUM_THREADS", "1")
        # Of a process group of its own, so that Ctrl-C reaches it once, from here: two end it unsaved.
        self.running[number] = subprocess.Popen(
            [sys.executable, *self.command], env=environment, process_group=0
        )

    def pass_on(self, number: int, frame: object) -> None:
        """Give every process a signal that this one had, and start none again.

        Args:
            number: of the signal.
            frame: of the handler of signals that this is.
        """
        self.asked = number
        for process in self.running.values():
            process.send_signal(number)

    def run(self) -> dict[int, list[int]]:
        """Start all and wait until all have ended.

        Returns:
            The exit codes of every process, one a start; negative for the number of a signal.
        """
        from graftwork_decentral.communication.store import ENDED

        for number in range(self.processes):
            self.start(number)
        try:
            while self.running:
                for number, process in list(self.running.items()):
                    code = process.poll()
                    if code is None:
                        continue
                    del self.running[number]
                    self.ends[number].append(code)
                    self.store.add(ENDED.format(process=number), 1)
                    again = len(self.ends[number]) <= self.restarts and not self.asked
                    if code and again and self.running:
                        self.start(number)
                time.sleep(_PAUSE)
        finally:
            self.stop()
        return self.ends

    def stop(self) -> None:
        """End what still runs."""
        for process in self.running.values():
            process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in self.running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def summary(ends: dict[int, list[int]]) -> str:
    """Say how every process ended.

    >>> summary({0: [0], 1: [-9, 0], 2: [1]})
    'process 0: done; process 1: killed by SIGKILL, done after 1 restart; process 2: failed with code 1'
    """

    def how(code: int) -> str:
        if code == 0:
            return "done"
        if code - 128 in _PASSED_ON:
            return f"stopped by {signal.Signals(code - 128).name}"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"failed with code {code}"

    parts = []
    for number, codes in sorted(ends.items()):
        restarts = len(codes) - 1
        after = f" after {restarts} restart{'s' if restarts > 1 else ''}" if restarts else ""
        parts.append(f"process {number}: {', '.join(map(how, codes))}{after}")
    return "; ".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m graftwork_decentral.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--processes", type=int, required=True, help="how many to start")
    parser.add_argument("--host", default="127.0.0.1", help="address of the store, as the processes see it")
    parser.add_argument("--port", type=int, default=0, help="of the store; 0 for a free one")
    parser.add_argument("--restart", action="store_true", help="start again, up to 3 times, what has died")
    parser.add_argument("--tolerate", type=int, help="how many processes may be lost for good")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and what is given to Python")
    chosen = parser.parse_args(arguments)
    command = chosen.command[1:] if chosen.command[:1] == ["--"] else chosen.command
    if not command:
        parser.error(
            "nothing to start: give -- and the arguments of Python, as in -- -m graftwork train RECIPE"
        )
    if chosen.processes < 1:
        parser.error(f"--processes must be at least 1, got {chosen.processes}")
    if not 0 <= chosen.port < 2**16:
        parser.error(f"--port must be in 0..65535, got {chosen.port}")
    if chosen.tolerate is not None and not 0 <= chosen.tolerate < chosen.processes:
        parser.error(
            f"--tolerate must be in 0..{chosen.processes - 1}, so that a process is left, got "
            f"{chosen.tolerate}"
        )
    try:
        socket.getaddrinfo(chosen.host, None)
    except OSError as error:
        parser.error(f"--host {chosen.host}: {error.strerror}; give a name or address of this machine")
    try:
        launch = Launch(
            command,
            chosen.processes,
            host=chosen.host,
            port=chosen.port,
            restarts=3 if chosen.restart else 0,
        )
    except RuntimeError as error:  # torch's, of several lines
        cause = str(error).partition("\n")[0]
        parser.error(f"no store can be kept at --host {chosen.host} --port {chosen.port}: {cause}")
    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as SIGHUP is under nohup
            signal.signal(number, launch.pass_on)
    ends = launch.run()
    print(f"launch: {summary(ends)}", flush=True)
    if launch.asked:
        return 128 + launch.asked
    lost = sum(codes[-1] != 0 for codes in ends.values())
    tolerated = chosen.processes - 1 if chosen.tolerate is None else chosen.tolerate
    return 0 if lost <= tolerated else 1


if __name__ == "__main__":
    sys.exit(main())
