"""What all runs of a report share, under its headline."""

from __future__ import annotations

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.head import shared_facts


def facts(paths):
    return shared_facts(group_runs(map(read_run, paths)))


def test_task_model_data_and_length_are_told(write_run, result_of):
    run = write_run(
        "r",
        extra={"task": {"name": "lm-pretrain", "data": "stories"}},
        result=result_of(40.0, units=4_100_000),
        environment={"data": {"corpus": "tiny-stories"}},
    )
    assert facts([run]) == [
        "lm-pretrain",
        "llama-tiny",
        "1.84M parameters",
        "data: tiny-stories",
        "600 steps",
        "4.1M tokens seen",
        "cpu",
    ]


def test_what_differs_is_left_out(write_run, result_of):
    paths = [
        write_run(
            name,
            extra={"task": {"name": "lm-pretrain", "data": name}},
            trainer={"steps": steps},
            result=result_of(40.0, steps=steps, units=steps * 100),
        )
        for name, steps in (("a", 300), ("b", 600))
    ]
    assert facts(paths) == ["lm-pretrain", "llama-tiny", "1.84M parameters", "cpu"]


def test_a_long_path_of_data_keeps_its_end(write_run):
    path = "/somewhere/" + "deep/" * 30 + "stories.jsonl"
    (told,) = [
        fact
        for fact in facts([write_run("r", extra={"task": {"name": "lm", "data": path}})])
        if fact.startswith("data: ")
    ]
    assert told.endswith("/stories.jsonl")
    assert len(told) < 70


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (512, "512"),
        (9_216, "9216"),
        (35_936, "35.9k"),
        (124_000, "124k"),
        (999_999, "1.0M"),
        (999_999_999, "1.0B"),
        (7e9, "7.0B"),
        (405e9, "405B"),
        (15e12, "15T"),
    ],
)
def test_counts_of_parameters_read_as_usual(write_run, result_of, count, told):
    assert f"{told} parameters" in facts([write_run("r", result=result_of(40.0, parameters=count))])
