"""What runs say together of which way a metric is better."""

from __future__ import annotations

import pytest

from graftwork_trainer.report import read_run
from graftwork_trainer.report.directions import agreed_directions


@pytest.fixture
def agreed(write_run):
    """What runs agree on that say the given directions, and recorded the given metrics at their end."""

    def of(*runs):
        results = [{"status": "finished", "metrics": dict.fromkeys(recorded, 1.0)} for _, recorded in runs]
        return agreed_directions(
            read_run(write_run(f"r{i}", directions=said, result=result))
            for i, ((said, _), result) in enumerate(zip(runs, results, strict=True))
        )

    return of


def test_what_all_say_is_known_in_the_order_of_the_first(agreed):
    found = agreed(({"v/b": "lower", "v/a": "higher"}, ["v/a"]), ({"v/a": "higher", "v/b": "lower"}, ["v/b"]))
    assert found.better == {"v/b": "lower", "v/a": "higher"}
    assert found.arrange(["train/x", "v/a", "test/x", "v/b"]) == ["v/b", "v/a", "test/x", "train/x"]
    assert found.remarks() == []


def test_a_contradiction_is_unknown_and_told(agreed):
    found = agreed(({"v/a": "lower", "v/b": "lower"}, []), ({"v/a": "higher", "v/b": "lower"}, []))
    assert found.better == {"v/b": "lower"}
    assert found.remarks() == [
        "The runs contradict each other on which way v a is better, so no direction is shown."
    ]


def test_a_run_that_has_the_metric_and_says_nothing_leaves_it_open(agreed):
    found = agreed(({"v/a": "lower", "v/b": "lower", "v/c": "lower"}, ["v/a"]), (None, ["v/a", "v/b"]))
    assert found.better == {"v/c": "lower"}
    assert found.remarks() == ["Not every run says which way v a or v b is better, so no direction is shown."]


def test_a_run_without_the_metric_need_not_say_anything(agreed):
    assert agreed(({"v/a": "lower"}, ["v/a"]), ({}, ["v/b"])).better == {"v/a": "lower"}


def test_runs_that_say_nothing_need_no_remark(agreed):
    found = agreed((None, ["v/a"]), ({}, ["v/a"]))
    assert (dict(found.better), found.order, found.remarks()) == ({}, (), [])
