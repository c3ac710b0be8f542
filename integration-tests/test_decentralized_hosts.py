"""Three hosts, as network namespaces joined by a bridge, one of which is cut off in the middle of a run.

Addresses are inside the namespaces alone. Needs root, iproute2 and leave to make namespaces; skipped with the
reason where one is missing. Run as a script this file is the job of one host.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HOSTS = 3
CUT_OFF = 2
STEPS_BEFORE = 20
LIMIT_SECONDS = 90.0


def host(options: dict[str, Any]) -> None:
    """Be one host: agents with quadratics of their own, some steps, and what came of it in a file."""
    import torch
    import torch.distributed as dist

    from graftwork import GraftworkError
    from graftwork_decentral.communication import (
        DistributedCommunicator,
        Membership,
        MembershipChanged,
        store_of_environment,
    )
    from graftwork_decentral.strategies import exact_diffusion
    from graftwork_decentral.topology import ring

    torch.set_num_threads(1)
    rank, folder = int(os.environ["RANK"]), Path(options["folder"])
    found: dict[str, Any] = {"told": []}
    store = store_of_environment(30.0)
    try:
        if options["on_failure"] == "continue":
            membership = Membership(
                store, rank, HOSTS, timeout_seconds=options["timeout"], silence_seconds=2.0
            )
            communicator = DistributedCommunicator(ring(HOSTS), membership=membership)
        else:
            dist.init_process_group("gloo", store=store, rank=rank, world_size=HOSTS)
            communicator = DistributedCommunicator(ring(HOSTS), timeout_seconds=options["timeout"])
        target = torch.tensor([[float(rank) ** 2, 1.0]], dtype=torch.float64)
        point = torch.zeros_like(target)
        form = exact_diffusion().start(point)
        communicator.on_membership_change.append(
            lambda change: form.after_membership_change(communicator.mean)
        )
        step = communicator.start(0)
        while step < options["steps"]:
            try:
                point = form.combine(point, point - 0.3 * (point - target), communicator.at(step))
                step += 1
            except MembershipChanged as change:
                found["told"].append(list(change.lost))
                step = change.step
            if step == STEPS_BEFORE:
                (folder / f"running-{rank}").touch()
            # The cut is made while all wait here; who has not been cut off goes on.
            while step == STEPS_BEFORE + 1 and not (folder / "cut").exists():
                time.sleep(0.02)
        found["point"] = point.tolist()
    except GraftworkError as error:
        found["error"], found["kind"] = str(error), type(error).__name__
    found["ended"] = time.time()
    (folder / f"end-{rank}.json").write_text(json.dumps(found))
    # Connections to a host that is cut off would be waited for.
    os._exit(1 if "error" in found else 0)


@dataclass(frozen=True)
class Hosts:
    """Namespaces by name, and how a link between one and the bridge is cut."""

    prefix: str

    def name(self, host: int) -> str:
        return f"{self.prefix}{host}"

    @property
    def switch(self) -> str:
        return f"{self.prefix}s"

    def inside(self, namespace: str, *command: str) -> list[str]:
        return ["ip", "netns", "exec", namespace, *command]

    def build(self) -> None:
        run("ip", "netns", "add", self.switch)
        inside = self.inside(self.switch, "ip")
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "link", "add", "bridge", "type", "bridge")
        run(*inside, "addr", "add", "10.77.0.254/24", "dev", "bridge")
        run(*inside, "link", "set", "bridge", "up")
        for number in range(HOSTS):
            name = self.name(number)
            run("ip", "netns", "add", name)
            run(*inside, "link", "add", f"port{number}", "type", "veth", "peer", "eth0", "netns", name)
            run(*inside, "link", "set", f"port{number}", "master", "bridge")
            run(*inside, "link", "set", f"port{number}", "up")
            own = self.inside(name, "ip")
            run(*own, "link", "set", "lo", "up")
            run(*own, "addr", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
            run(*own, "link", "set", "eth0", "up")

    def cut(self, number: int) -> None:
        run(*self.inside(self.switch, "ip"), "link", "set", f"port{number}", "down")

    def remove(self) -> None:
        for name in [*map(self.name, range(HOSTS)), self.switch]:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    if result.returncode:
        raise OSError(f"{' '.join(command)}: {result.stderr.strip()}")


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("network namespaces need Linux and root")
    if shutil.which("ip") is None:
        pytest.skip("the command ip is missing (apt-get install iproute2)")
    made = Hosts(f"gw{os.getpid() % 100000}x")
    try:
        try:
            made.build()
        except OSError as error:
            pytest.skip(f"network namespaces are not permitted here: {error}")
        yield made
    finally:
        made.remove()


STORE = """
import sys, time, torch.distributed as dist
store = dist.TCPStore("10.77.0.254", 29400, is_master=True, wait_for_workers=False)
open(sys.argv[1], "w").close()
time.sleep(600)
"""


def ends(hosts: Hosts, folder: Path, on_failure: str) -> dict[int, dict[str, Any]]:
    """Run, cut one host off, and return what each wrote; ``after`` is the seconds from the cut."""
    options = {"folder": str(folder), "on_failure": on_failure, "timeout": 5.0, "steps": 150}
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GRAFTWORK_")},
        "MASTER_ADDR": "10.77.0.254",
        "MASTER_PORT": "29400",
        "WORLD_SIZE": str(HOSTS),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "GLOO_SOCKET_IFNAME": "eth0",
        "OMP_NUM_THREADS": "1",
    }
    here = [sys.executable, str(Path(__file__)), json.dumps(options)]
    store = [sys.executable, "-c", STORE, str(folder / "store")]
    processes = [subprocess.Popen(hosts.inside(hosts.switch, *store), env=variables)]
    try:
        wait_for([folder / "store"])
        processes += [
            subprocess.Popen(hosts.inside(hosts.name(number), *here), env={**variables, "RANK": str(number)})
            for number in range(HOSTS)
        ]
        wait_for([folder / f"running-{number}" for number in range(HOSTS)])
        hosts.cut(CUT_OFF)
        (folder / "cut").touch()
        begun = time.time()
        for process in processes[1:]:
            process.wait(LIMIT_SECONDS)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    found = {}
    for number in range(HOSTS):
        found[number] = json.loads((folder / f"end-{number}.json").read_text())
        found[number]["after"] = found[number]["ended"] - begun
    return found


def wait_for(paths: list[Path]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, f"no {[path.name for path in paths if not path.exists()]}"
        time.sleep(0.05)


def test_a_host_that_is_cut_off_ends_the_run_with_its_name(hosts: Hosts, tmp_path: Path) -> None:
    found = ends(hosts, tmp_path, "stop")
    for number in (0, 1):
        assert found[number]["kind"] == "AgentsLostError"
        assert "agents 2 (process 2) do not answer at step 2" in found[number]["error"]
        assert "on_failure = 'continue'" in found[number]["error"]
    assert found[CUT_OFF]["kind"] == "AgentsLostError"
    assert max(one["after"] for one in found.values()) < 40


def test_the_others_go_on_where_that_is_asked(hosts: Hosts, tmp_path: Path) -> None:
    found = ends(hosts, tmp_path, "continue")
    for number in (0, 1):
        assert found[number]["told"] == [[CUT_OFF]]
        # Agents 0 and 1 pull to 0 and to 1: half-way between, with nothing left of agent 2's 4.
        assert found[number]["point"][0] == pytest.approx([0.5, 1.0], abs=1e-5)
    assert found[CUT_OFF]["kind"] == "GraftworkError"
    assert "lost the store through which processes agree" in found[CUT_OFF]["error"]
    assert max(one["after"] for one in found.values()) < 60


if __name__ == "__main__":
    host(json.loads(sys.argv[1]))
