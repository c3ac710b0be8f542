from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from graftwork import GraftworkError, choose
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.faults.compressed import Compressed
from graftwork_decentral.strategies import exact_diffusion, gt_semi_atc
from graftwork_decentral.topology import one_peer_exponential, ring
from graftwork_decentral.trainers.network import Network

CPU = torch.device("cpu")


def test_a_network_of_names_alone_is_one() -> None:
    network = Network(agents=5)
    communicator = network.connect(network.graphs(), CPU, 5.0)
    assert (communicator.agents, communicator.graphs.name) == (5, "ring")
    assert isinstance(communicator, StackedCommunicator)
    assert communicator.path == "differences"


def test_chosen_parts_are_taken() -> None:
    network = Network(
        agents=6,
        topology=choose("topology", "star"),
        communicator=choose("communicator", "stacked", {"path": "dense"}),
    )
    communicator = network.connect(network.graphs(), CPU, 5.0)
    assert (communicator.graphs.name, communicator.path) == ("star", "dense")


def test_faults_are_put_around_the_network_and_checked_with_the_strategy() -> None:
    network = Network(faults=choose("faults", "standard", {"compressor": "sign"}))
    assert isinstance(network.connect(network.graphs(), CPU, 5.0, gt_semi_atc()), Compressed)
    with pytest.raises(GraftworkError, match=r"'exact-diffusion' diverges with faults\.compressor = 'sign'"):
        network.connect(network.graphs(), CPU, 5.0, exact_diffusion())


@pytest.mark.parametrize(
    ("on_failure", "processes", "outlives"),
    [("continue", "3", True), ("continue", "1", False), ("stop", "3", False)],
)
def test_several_processes_that_go_on_connect_by_themselves(
    on_failure: str, processes: str, outlives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", processes)
    faults = choose("faults", "standard", {"on_failure": on_failure})
    assert Network(faults=faults).outlives_processes == outlives
    assert not Network().outlives_processes


def test_a_graph_of_another_number_of_agents_is_refused() -> None:
    topology = replace(choose("topology", "ring"), target=lambda agents: ring(agents + 1))
    with pytest.raises(GraftworkError, match=r"trainer\.agents is 4, and topology/ring made a graph of 5"):
        Network(agents=4, topology=topology).graphs()


@pytest.mark.parametrize(
    ("communicator", "says"),
    [
        (None, r"trainer\.agents must be at least the number of processes, 9, got 8"),
        ("stacked", r"trainer\.agents must be at least"),
    ],
)
def test_more_processes_than_agents_are_refused(
    communicator: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "9")
    chosen = None if communicator is None else choose("communicator", communicator)
    with pytest.raises(GraftworkError, match=says):
        Network(communicator=chosen).validate([], ring(8), None)


@pytest.mark.parametrize(("steps", "unused"), [(1, "1 step: graphs 2 to 3 are"), (2, "2 steps: graph 3 is")])
def test_turns_that_never_come_are_said(steps: int, unused: str, capsys: pytest.CaptureFixture[str]) -> None:
    Network().validate([], one_peer_exponential(8), steps)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("graftwork: topology 'one-peer exponential' has 3 graphs that take turns")
    assert f"{unused} never used" in line


@pytest.mark.parametrize("steps", [3, None])
def test_turns_that_all_come_are_not_spoken_of(steps: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    Network().validate([], one_peer_exponential(8), steps)
    assert not capsys.readouterr().err


def test_all_agents_in_one_of_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(communicator=choose("communicator", "stacked"))
    network.validate([], ring(8), None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        GraftworkError, match=r"'stacked' holds all agents in one process, and 2 were started"
    ):
        network.validate([], ring(8), None)
