"""Where and with what runs were made."""

from __future__ import annotations

import pytest

from graftwork_trainer.report import read_run
from graftwork_trainer.report.facts import Fact, environment_of, origin_of


def test_the_command_the_host_and_the_state_of_the_checkout_are_told(write_run):
    run = write_run(
        "r",
        environment={
            "command": "graftwork train stories --set trainer.steps=600",
            "host": "desk",
            "commit": "abc",
            "uncommitted_changes": True,
            "started": "2025-01-01",
        },
    )
    assert origin_of([read_run(run)]) == [
        Fact("command", ("graftwork train stories --set trainer.steps=600",)),
        Fact("host", ("desk",)),
        Fact("checkout", ("abc, with uncommitted changes",)),
        Fact("started", ("2025-01-01",)),
    ]
    told = {fact.name for fact in environment_of([read_run(run)])}
    assert {"python", "torch", "device", "threads"} <= told
    assert not {"command", "host", "commit", "uncommitted changes", "started", "metric directions"} & told


@pytest.mark.parametrize(
    ("changes", "told"),
    [(False, "abc, without uncommitted changes"), (None, "abc")],
)
def test_a_checkout_is_clean_or_nobody_knows(write_run, changes, told):
    run = write_run("r", environment={"commit": "abc", "uncommitted_changes": changes})
    assert origin_of([read_run(run)]) == [Fact("checkout", (told,))]


def test_a_run_that_says_nothing_of_it_has_no_such_facts(write_run):
    assert origin_of([read_run(write_run("r"))]) == []


def test_many_commands_and_long_ones_are_cut(write_run):
    runs = [
        read_run(write_run(f"r{place}", environment={"command": f"graftwork train {place} {'x' * 9000}"}))
        for place in range(20)
    ]
    (command,) = origin_of(runs)
    assert command.values[-1] == "14 more"
    assert len(command.values) == 7
    assert all(len(value) <= 600 for value in command.values)
