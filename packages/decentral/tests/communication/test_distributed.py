"""Several processes compute bit for bit what one does, and none waits for ever.

Reached from here: ``communication/links.py``, ``communication/store.py``.
"""

from __future__ import annotations

from typing import Any

import pytest

LONG = 200
RING = {"steps": 40, "topology": "ring", "agents": 12, "graph": {"lazy": True}, "strategy": "exact_diffusion"}
CASES: dict[str, dict[str, Any]] = {
    "exact diffusion": {**RING, "steps": LONG},
    "extra": {**RING, "strategy": "extra"},
    "gt-semi": {**RING, "strategy": "gt_semi_atc", "steps": LONG},
    "gt-atc": {**RING, "strategy": "gt_atc"},
    "uneven": {**RING, "agents": 11},
    "one peer": {"topology": "one_peer_exponential", "agents": 8, "steps": 40, "strategy": "gt_semi_atc"},
    "static exponential": {"topology": "static_exponential", "agents": 9, "steps": 40, "strategy": "gt_atc"},
    "link loss": {**RING, "faults": {"link_loss": 0.3}},
    "isolation": {**RING, "faults": {"isolate": [2, 3], "isolate_from": 20, "isolate_to": 60}},
    "delay": {
        **RING,
        "graph": {"self_weight": 0.75},
        "strategy": "gt_semi_atc",
        "faults": {"delay": 1, "link_loss": 0.2},
    },
    "8-bit": {**RING, "faults": {"compressor": "8-bit"}},
    "top-k and loss": {**RING, "faults": {"compressor": "top-k", "share": 0.3, "link_loss": 0.2}},
    "random-k": {**RING, "strategy": "gt_semi_atc", "faults": {"compressor": "random-k", "share": 0.3}},
    "sign and delay": {
        **RING,
        "strategy": "diffusion",
        "faults": {"compressor": "sign", "delay": 1},
    },
}


FEW = {name: CASES[name] for name in ("exact diffusion", "gt-semi", "one peer", "8-bit")}


@pytest.fixture(scope="module")
def outcomes(outcomes_of: Any) -> Any:
    return outcomes_of(
        "distributed_job.py",
        {
            "two": {"world": 2, "cases": FEW},
            "three": {"world": 3, "cases": FEW},
            "four": {"world": 4, "cases": CASES},
            "frozen alike": {"world": 2, "cases": {"frozen": {**RING, "steps": 1, "frozen": [1.0, 1.0]}}},
            "frozen otherwise": {"world": 2, "cases": {"frozen": {**RING, "steps": 1, "frozen": [1.0, 2.0]}}},
            "differ": {"world": 3, "cases": {"ring": {**RING, "graph": {}, "differs": [1]}}},
            "too many": {"world": 4, "cases": {"ring": {**RING, "agents": 3}}},
            "silent": {"world": 3, "cases": {"ring": {**RING, "silent": 1, "seconds": 15}}},
            "dies": {"world": 4, "cases": {"ring": {**RING, "dies": 2}}},
        },
    )


@pytest.mark.parametrize(
    ("world", "name"),
    [*[(world, name) for world in ("two", "three") for name in FEW], *[("four", name) for name in CASES]],
)
def test_bitwise_as_in_one_process(outcomes: Any, world: str, name: str) -> None:
    outcome = outcomes[world]
    assert all(codes == [0] for codes in outcome.codes.values()), outcome.words
    found = [end[name] for _, end in sorted(outcome.ends.items())]
    assert [agent for one in found for agent in one["agents"]] == list(range(CASES[name]["agents"]))
    assert [row for one in found for row in one["rows"]] == found[0]["stacked"]
    for one in found:
        assert one["mean"] == pytest.approx(found[0]["stacked_mean"], abs=1e-6)


def test_processes_whose_models_differ_in_what_is_frozen_are_refused(outcomes: Any) -> None:
    refused = outcomes["frozen otherwise"]
    assert all(codes == [1] for codes in refused.codes.values()), refused.words
    assert {end["kind"] for end in refused.ends.values()} == {"GraftworkError"}
    for end in refused.ends.values():
        assert "models differ in names, shapes or what they do not train" in end["error"]
    # Buffers are of each agent's own data.
    alike = outcomes["frozen alike"]
    assert all(codes == [0] for codes in alike.codes.values()), alike.words


def test_traffic_is_that_of_the_algorithm_whatever_the_processes(outcomes: Any) -> None:
    for name in ("exact diffusion", "8-bit", "one peer"):
        totals = {
            world: tuple(
                sum(end[name]["traffic"][what] for end in outcomes[world].ends.values())
                for what in ("messages", "bytes")
            )
            for world in ("two", "three", "four")
        }
        assert len(set(totals.values())) == 1, totals
    two = [end["exact diffusion"]["traffic"] for end in outcomes["two"].ends.values()]
    # Twelve agents with two neighbours each, seven numbers of four bytes; two of the links join processes.
    assert sum(one["bytes"] for one in two) == 12 * 2 * 28 * LONG
    assert [one["wire_bytes"] for one in two] == [2 * 28 * LONG] * 2


def test_compressed_messages_are_compressed_on_the_wire(outcomes: Any) -> None:
    for world in ("two", "four"):
        for end in outcomes[world].ends.values():
            # A byte a number and four for the scale, against four a number.
            whole = end["exact diffusion"]["traffic"]["wire_bytes"] / LONG
            assert end["8-bit"]["traffic"]["wire_bytes"] / 40 * 28 == whole * 11


def test_other_graphs_are_refused_by_every_process(outcomes: Any) -> None:
    outcome = outcomes["differ"]
    assert outcome.codes == {0: [1], 1: [1], 2: [1]}
    for end in outcome.ends.values():
        assert "process 0 has 'ring 12" in end["error"]
        assert "process 1 has 'lazy ring 12" in end["error"]
    assert outcome.seconds < 20


def test_more_processes_than_agents_are_refused(outcomes: Any) -> None:
    assert all("agents must be at least" in end["error"] for end in outcomes["too many"].ends.values())


def test_who_does_not_answer_is_named_after_the_time_limit(outcomes: Any) -> None:
    outcome = outcomes["silent"]
    for rank in (0, 2):
        assert outcome.ends[rank]["kind"] == "AgentsLostError"
        assert "agents 4, 5, 6, 7 (process 1) do not answer at step 0" in outcome.ends[rank]["error"]
        assert outcome.ends[rank]["waited"] < 12


def test_who_dies_is_named_within_seconds_by_all(outcomes: Any) -> None:
    outcome = outcomes["dies"]
    assert outcome.codes == {0: [1], 1: [1], 2: [-9], 3: [1]}
    for rank in (0, 1, 3):
        assert "agents 6, 7, 8 (process 2) do not answer" in outcome.ends[rank]["error"], outcome.ends
        assert outcome.ends[rank]["waited"] < 6
