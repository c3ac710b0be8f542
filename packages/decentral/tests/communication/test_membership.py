"""Processes that die: who is left goes on to the minimizer of who is left, and who comes back is taken in.

Reached from here: ``communication/lost.py``, ``communication/store.py``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

JOB = Path(__file__).with_name("membership_job.py")


def _job() -> Any:
    spec = importlib.util.spec_from_file_location("membership_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def minimizer(agents: int, alive: list[int]) -> torch.Tensor:
    curvatures, pulls = _job().quadratics(agents)
    return torch.linalg.solve(curvatures[alive].sum(0), pulls[alive].sum(0))


METROPOLIS = {"graph": {}, "steps": 400, "step_size": 0.1}


def scenario(strategy: str = "exact_diffusion", **changes: Any) -> dict[str, Any]:
    standard = {
        "world": 6,
        "agents": 6,
        "graph": {"lazy": True},
        "strategy": strategy,
        "steps": 200,
        "victims": [2],
        "dies_at": 40,
    }
    return {**standard, **changes}


@pytest.fixture(scope="module")
def outcomes(outcomes_of: Any) -> Any:
    return outcomes_of(
        JOB.name,
        {
            "exact diffusion": scenario(),
            "gradient tracking": scenario("gt_semi_atc", **METROPOLIS),
            "tracking twice combined": scenario("gt_atc", **METROPOLIS),
            "not repaired": scenario(repair=False),
            "tracking not repaired": scenario("gt_semi_atc", repair=False, **METROPOLIS),
            "faults besides": scenario(
                "gt_semi_atc",
                **{**METROPOLIS, "topology": "full", "graph": {"lazy": True}},
                faults={"compressor": "8-bit", "delay": 1, "link_loss": 0.1},
            ),
            "no launcher tells": scenario(told=False),
            "two neighbours": scenario(victims=[2, 3]),
            "two agents a process": scenario(world=3, victims=[1]),
            "directed": scenario(
                "gt_semi_atc",
                **{**METROPOLIS, "topology": "one_peer_exponential", "agents": 8, "world": 4, "victims": [3]},
            ),
            "falls apart": scenario(topology="star", graph={"lazy": True}, victims=[0]),
            "stops answering": scenario(
                signal="SIGSTOP", timeout=3.0, world=3, agents=3, victims=[1], limit=25
            ),
            "comes back": scenario(restart=[2], pause=0.002),
            "comes back to tracking": scenario("gt_semi_atc", restart=[2], pause=0.002, **METROPOLIS),
        },
    )


def error(outcome: Any, alive: list[int], agents: int = 6) -> float:
    points = torch.tensor(
        [row for _, end in sorted(outcome.ends.items()) for row in end["point"]], dtype=torch.float64
    )
    return float((points - minimizer(agents, alive)).square().sum())


LEFT = [0, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "alive"),
    [
        ("exact diffusion", LEFT),
        ("gradient tracking", LEFT),
        ("tracking twice combined", LEFT),
        ("faults besides", LEFT),
        ("no launcher tells", LEFT),
        ("two agents a process", [0, 1, 4, 5]),
    ],
)
def test_survivors_reach_the_minimizer_of_the_survivors(outcomes: Any, name: str, alive: list[int]) -> None:
    outcome = outcomes[name]
    assert error(outcome, alive) <= 1e-10, outcome.words
    lost = sorted(set(range(6)) - set(alive))
    for rank, codes in outcome.codes.items():
        dead = any(agent in lost for agent in ([rank] if len(outcome.codes) == 6 else [2 * rank]))
        assert codes == ([-9] if dead else [0])
    told = [agent for change in next(iter(outcome.ends.values()))["told"] for agent in change["lost"]]
    assert sorted(told) == lost


def test_without_the_repair_they_converge_to_something_else(outcomes: Any) -> None:
    assert error(outcomes["not repaired"], LEFT) > 1e-2
    assert error(outcomes["tracking not repaired"], LEFT) > 1e-2


def test_a_directed_graph_is_closed_around_who_is_lost(outcomes: Any) -> None:
    assert error(outcomes["directed"], [0, 1, 2, 3, 4, 5], agents=8) <= 1e-10


def test_two_lost_neighbours_of_a_ring_leave_a_path(outcomes: Any) -> None:
    assert error(outcomes["two neighbours"], [0, 1, 4, 5]) <= 1e-10


def test_all_go_on_with_one_step(outcomes: Any) -> None:
    steps = {change["step"] for end in outcomes["exact diffusion"].ends.values() for change in end["told"]}
    assert len(steps) == 1
    assert 40 <= steps.pop() <= 45


def test_losing_the_middle_of_a_star_ends_in_an_error_that_says_so(outcomes: Any) -> None:
    outcome = outcomes["falls apart"]
    assert all(codes == ([-9] if rank == 0 else [1]) for rank, codes in outcome.codes.items())
    assert "falls into 5 parts without agent 0" in outcome.words
    assert outcome.seconds < 30


def test_who_stops_answering_is_left_out_after_the_time_limit(outcomes: Any) -> None:
    outcome = outcomes["stops answering"]
    assert outcome.codes == {0: [0], 1: [-99], 2: [0]}
    assert set(outcome.ends) == {0, 2}
    assert error(outcome, [0, 2], agents=3) <= 1e-10


@pytest.mark.parametrize("name", ["comes back", "comes back to tracking"])
def test_who_comes_back_is_taken_in_and_all_reach_the_minimizer_of_all(outcomes: Any, name: str) -> None:
    outcome = outcomes[name]
    assert outcome.codes == {rank: [-9, 0] if rank == 2 else [0] for rank in range(6)}, outcome.words
    assert outcome.ends[2]["begun"] >= 40
    assert outcome.ends[2]["told"][0]["joined"] == [2]
    assert error(outcome, [0, 1, 2, 3, 4, 5]) <= 1e-10


def test_nothing_hangs(outcomes: Any) -> None:
    slowest = max(outcomes.values(), key=lambda outcome: outcome.seconds)
    assert slowest.seconds < 59
