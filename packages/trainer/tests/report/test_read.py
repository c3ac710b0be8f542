"""Run directories, whole and broken."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from graftwork.errors import GraftworkError
from graftwork_trainer.report import read_run


def test_a_finished_run_is_read_whole(write_run, result_template):
    path = write_run(
        "run",
        seed=3,
        metrics=[
            {"step": 10, "seconds": 1.5, "train/loss": 7.9},
            {"step": 20, "seconds": 3, "train/loss": 7},
        ],
        result=result_template | {"metrics": {"validation/loss": 4.0}, "optimizer_state_bytes": 123},
    )
    run = read_run(path)
    assert (run.status, run.complete, run.seed, run.steps) == ("finished", True, 3, 600)
    assert run.recipe["optimizer"]["name"] == "adamw"
    assert run.environment["packages"] == {"torch": "2.15.0"}
    curve = run.curves["train/loss"]
    assert (curve.steps, curve.seconds, curve.values) == ((10.0, 20.0), (1.5, 3.0), (7.9, 7.0))
    assert run.result is not None
    assert run.result.optimizer_state_bytes == 123
    assert run.result.step_seconds is not None
    assert run.result.step_seconds.p90 == 0.1
    assert run.final("validation/loss") == 4.0
    assert run.final("train/loss") == 7.0
    assert run.final("validation/none") is None


@pytest.fixture
def result_template():
    return {"status": "finished", "steps": 600, "step_seconds": {"median": 0.08, "p10": 0.07, "p90": 0.1}}


def test_a_torn_last_line_is_dropped(write_run):
    path = write_run("run", metrics='{"step": 1, "train/loss": 5.0}\n{"step": 2, "train/lo')
    run = read_run(path)
    assert run.curves["train/loss"].steps == (1.0,)
    assert math.isnan(run.curves["train/loss"].seconds[0])
    assert (run.status, run.steps) == ("unfinished", 1)


def test_a_last_line_torn_inside_a_character_is_dropped(write_run):
    path = write_run("run", metrics='{"step": 1, "train/loss": 5.0}\n')
    with (path / "metrics.jsonl").open("ab") as file:
        file.write('{"step": 2, "train/é'.encode()[:-1])
    assert read_run(path).curves["train/loss"].values == (5.0,)


def test_bad_json_before_the_last_line_names_file_and_line(write_run):
    path = write_run(
        "run", metrics='{"step": 1, "train/loss": 5.0}\n{"step": 2,\n{"step": 3, "train/loss": 4.0}\n'
    )
    with pytest.raises(GraftworkError, match=r"metrics\.jsonl, line 2: not valid JSON"):
        read_run(path)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[1]", "line 1: expected a JSON object, found list"),
        ('{"train/loss": 1.0}', "line 1: expected the key 'step' with a finite number"),
        ('{"step": NaN, "train/loss": 1.0}', "line 1: expected the key 'step' with a finite number"),
        ('{"step": 1e400, "train/loss": 1.0}', "line 1: expected the key 'step' with a finite number"),
        ('{"step": 1, "train/loss": "low"}', "line 1: expected a number for 'train/loss', got 'low'"),
        ('{"step": true, "train/loss": 1.0}', "line 1: expected a number for 'step', got True"),
    ],
)
def test_a_line_of_the_wrong_form_is_an_error(write_run, line, complaint):
    with pytest.raises(GraftworkError) as caught:
        read_run(write_run("run", metrics=line + "\n"))
    assert complaint in str(caught.value)


def test_after_a_resume_the_later_line_of_a_step_counts(write_run):
    lines = [{"step": 1, "train/loss": 9.0}, {"step": 2, "train/loss": 8.0}, {"step": 2, "train/loss": 7.0}]
    curve = read_run(write_run("run", metrics=lines)).curves["train/loss"]
    assert (curve.steps, curve.values) == ((1.0, 2.0), (9.0, 7.0))


def test_null_is_no_measurement_and_nan_is_one(write_run):
    text = '{"step": 1, "train/loss": null}\n{"step": 2, "train/loss": NaN}\n'
    curve = read_run(write_run("run", metrics=text)).curves["train/loss"]
    assert curve.steps == (2.0,)
    assert math.isnan(curve.values[0])


def test_a_run_that_has_just_begun_is_a_run(write_run):
    run = read_run(write_run("run"))
    assert (dict(run.curves), run.status, run.steps) == ({}, "unfinished", 0)


def test_a_directory_that_is_no_run_names_path_and_expectation(tmp_path: Path):
    folder = tmp_path / "holiday-pictures"
    with pytest.raises(GraftworkError, match=r"holiday-pictures is not a run: .*there is no such directory"):
        read_run(folder)
    folder.mkdir()
    (folder / "recipe.toml").write_text("")
    with pytest.raises(
        GraftworkError, match=r"expected a directory with recipe\.toml.*no environment\.json"
    ) as caught:
        read_run(folder)
    assert "no recipe.toml" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("recipe.toml", "a = = 1", "is not TOML"),
        ("environment.json", "{", "not valid JSON"),
        ("environment.json", "[]", "expected a JSON object, found list"),
        ("environment.json", '{"metric_directions": ["loss"]}', "to give metrics 'lower' or 'higher'"),
        ("environment.json", '{"metric_directions": {"x": "down"}}', "got {'x': 'down'}"),
        ("result.json", "{}", "expected 'status'"),
        ("result.json", '{"status": "finished", "metrics": [1]}', "expected 'metrics' to be an object"),
        (
            "result.json",
            '{"status": "finished", "step_seconds": 0.1}',
            "'step_seconds' to be an object with median",
        ),
        (
            "result.json",
            '{"status": "finished", "steps": "many"}',
            "expected a number for 'steps', got 'many'",
        ),
    ],
)
def test_a_broken_file_is_named(write_run, name, content, complaint):
    path = write_run("run")
    (path / name).write_text(content, encoding="utf-8")
    with pytest.raises(GraftworkError) as caught:
        read_run(path)
    assert str(caught.value).removeprefix("recipe ").startswith(str(path / name))
    assert complaint in str(caught.value)


def test_directions_keep_their_order_and_an_old_run_has_none(write_run):
    directions = {"validation/z": "higher", "validation/a": "lower"}
    assert list(read_run(write_run("new", directions=directions)).directions.items()) == list(
        directions.items()
    )
    assert read_run(write_run("old", directions=None)).directions == {}


def test_a_metric_is_had_on_the_way_or_at_the_end(write_run):
    lines, end = [{"step": 1, "train/loss": 5.0}], {"status": "finished", "metrics": {"test/loss": 4.0}}
    run = read_run(write_run("run", metrics=lines, result=end))
    assert [run.has(name) for name in ("train/loss", "test/loss", "validation/loss")] == [True, True, False]
    assert not read_run(write_run("begun")).has("train/loss")


@pytest.mark.parametrize("key", ["steps", "best_step"])
def test_steps_that_are_no_number_are_an_error(write_run, result_of, key):
    path = write_run("run", result=result_of(40.0, **{key: float("nan")}))
    with pytest.raises(GraftworkError, match=rf"result\.json: expected a finite number for '{key}', got nan"):
        read_run(path)
