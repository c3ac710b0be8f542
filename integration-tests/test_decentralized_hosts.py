"""Three hosts, as network namespaces joined by a bridge, one of which is cut off in the middle of a run.

Addresses are inside the namespaces alone. Needs root, iproute2 and leave to make namespaces; skipped with the
reason where one is missing. Run as a script this file is one host: it imports torch once, and forks a process
for each run.
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
STEPS, STEPS_BEFORE = 150, 20
LIMIT_SECONDS = 90.0
RUNS = {"stop": 29400, "continue": 29401}
"""What is asked for when an agent is lost, and the port of that run's store."""


def host(folder: Path) -> None:
    """Be one host: a process for each run, once its folder is there."""
    # Imported for the processes that are forked.
    from graftwork_decentral import communication, strategies  # noqa: F401

    for on_failure, port in RUNS.items():
        wait_for([folder / on_failure])
        child = os.fork()
        if child == 0:
            os.environ["MASTER_PORT"] = str(port)
            agent(folder / on_failure, on_failure)
        os.waitpid(child, 0)


def agent(folder: Path, on_failure: str) -> None:
    """Be one agent of a run: a quadratic of its own, some steps, and what came of it in a file."""
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
    rank = int(os.environ["RANK"])
    found: dict[str, Any] = {"told": []}
    store = store_of_environment(30.0)
    try:
        if on_failure == "continue":
            membership = Membership(store, rank, HOSTS, timeout_seconds=5.0, silence_seconds=2.0)
            communicator = DistributedCommunicator(ring(HOSTS), membership=membership)
        else:
            dist.init_process_group("gloo", store=store, rank=rank, world_size=HOSTS)
            communicator = DistributedCommunicator(ring(HOSTS), timeout_seconds=5.0)
        target = torch.tensor([[float(rank) ** 2, 1.0]], dtype=torch.float64)
        point = torch.zeros_like(target)
        form = exact_diffusion().start(point)
        communicator.on_membership_change.append(
            lambda change: form.after_membership_change(communicator.mean)
        )
        step = communicator.start(0)
        while step < STEPS:
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
    written = folder / f"end-{rank}.partial"
    written.write_text(json.dumps(found))
    written.rename(written.with_suffix(".json"))
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

    def cut(self, number: int, *, joined: bool = False) -> None:
        state = "up" if joined else "down"
        run(*self.inside(self.switch, "ip"), "link", "set", f"port{number}", state)

    def remove(self) -> None:
        for name in [*map(self.name, range(HOSTS)), self.switch]:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    if result.returncode:
        raise OSError(f"{' '.join(command)}: {result.stderr.strip()}")


@pytest.fixture(scope="module")
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


STORES = f"""
import sys, time, torch.distributed as dist
stores = [
    dist.TCPStore("10.77.0.254", port, is_master=True, wait_for_workers=False) for port in {[*RUNS.values()]}
]
open(sys.argv[1], "w").close()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def ends(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, dict[str, Any]]]:
    """What each agent of each run wrote, of which one is cut off; ``after`` is the seconds from the cut."""
    folder = tmp_path_factory.mktemp("hosts")
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GRAFTWORK_")},
        "MASTER_ADDR": "10.77.0.254",
        "WORLD_SIZE": str(HOSTS),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "GLOO_SOCKET_IFNAME": "eth0",
        "OMP_NUM_THREADS": "1",
    }
    here = [sys.executable, str(Path(__file__)), str(folder)]
    stores = [sys.executable, "-c", STORES, str(folder / "stores")]
    processes = [subprocess.Popen(hosts.inside(hosts.switch, *stores), env=variables)]
    found = {}
    try:
        wait_for([folder / "stores"])
        processes += [
            subprocess.Popen(hosts.inside(hosts.name(number), *here), env={**variables, "RANK": str(number)})
            for number in range(HOSTS)
        ]
        for on_failure in RUNS:
            found[on_failure] = cut_off(hosts, folder / on_failure)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return found


def cut_off(hosts: Hosts, run: Path) -> dict[int, dict[str, Any]]:
    """Let a run begin, cut one host off until all agents have ended, and return what each wrote."""
    run.mkdir()
    wait_for([run / f"running-{number}" for number in range(HOSTS)])
    hosts.cut(CUT_OFF)
    (run / "cut").touch()
    begun = time.time()
    ended = [run / f"end-{number}.json" for number in range(HOSTS)]
    wait_for(ended)
    hosts.cut(CUT_OFF, joined=True)
    found = {number: json.loads(file.read_text()) for number, file in enumerate(ended)}
    return {number: {**one, "after": one["ended"] - begun} for number, one in found.items()}


def wait_for(paths: list[Path]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, f"no {[path.name for path in paths if not path.exists()]}"
        time.sleep(0.05)


def test_a_host_that_is_cut_off_ends_the_run_with_its_name(ends: dict[str, Any]) -> None:
    found = ends["stop"]
    for number in (0, 1):
        assert found[number]["kind"] == "AgentsLostError"
        assert "agents 2 (process 2) do not answer at step 2" in found[number]["error"]
        assert "on_failure = 'continue'" in found[number]["error"]
    assert found[CUT_OFF]["kind"] == "AgentsLostError"
    assert max(one["after"] for one in found.values()) < 40


def test_the_others_go_on_where_that_is_asked(ends: dict[str, Any]) -> None:
    found = ends["continue"]
    for number in (0, 1):
        assert found[number]["told"] == [[CUT_OFF]]
        # Agents 0 and 1 pull to 0 and to 1: half-way between, with nothing left of agent 2's 4.
        assert found[number]["point"][0] == pytest.approx([0.5, 1.0], abs=1e-5)
    assert found[CUT_OFF]["kind"] == "GraftworkError"
    assert "lost the store through which processes agree" in found[CUT_OFF]["error"]
    assert max(one["after"] for one in found.values()) < 60


if __name__ == "__main__":
    host(Path(sys.argv[1]))
