"""Runs that are given as folders."""

from __future__ import annotations

import pytest

from graftwork import GraftworkError
from graftwork_trainer.report.finding import read_runs


def test_a_folder_stands_for_the_runs_below_it_in_the_order_that_they_began_in(write_run):
    for place, (name, hour) in enumerate({"b-seed0": 1, "a/deep/a-seed0": 2, "a/a-seed1": 0}.items()):
        folder = write_run(name, seed=place, environment={"started": f"2026-01-01T0{hour}:00:00+00:00"})
    (folder.parent.parent / "recipes").mkdir()
    (folder.parent.parent / "recipes" / "a.toml").write_text("")
    found = read_runs([folder.parent.parent])
    assert [run.path.name for run in found] == ["a-seed1", "b-seed0", "a-seed0"]


def test_a_run_stands_for_itself_and_what_lies_in_it_is_its_own(write_run):
    run = write_run("run")
    write_run("run/stages/1-first")
    write_run("run/.trash/old")
    assert [found.path for found in read_runs([run])] == [run]
    assert [found.path for found in read_runs([run.parent])] == [run]


def test_runs_and_folders_may_be_given_side_by_side(write_run):
    one, other = write_run("one"), write_run("folder/other")
    assert [found.path for found in read_runs([one, other.parent])] == [one, other]


def test_hidden_folders_and_links_are_passed_over(write_run, tmp_path):
    run = write_run("folder/run")
    write_run("folder/.hidden/run")
    (run.parent / "round").symlink_to(run.parent, target_is_directory=True)
    assert [found.path for found in read_runs([run.parent])] == [run]


def test_a_folder_without_runs_is_refused_by_name(tmp_path):
    with pytest.raises(GraftworkError, match=r"is neither a run, which has recipe\.toml and .*, nor"):
        read_runs([tmp_path])
    with pytest.raises(GraftworkError, match="there is no such directory"):
        read_runs([tmp_path / "nowhere"])


def test_a_damaged_run_of_a_folder_is_named(write_run):
    run = write_run("folder/run")
    (run / "environment.json").write_text("{")
    with pytest.raises(GraftworkError, match=r"folder/run/environment\.json: not valid JSON"):
        read_runs([run.parent])


def test_a_run_that_lacks_a_file_is_named_and_not_passed_over(write_run, result_of):
    good, bad = (write_run(name, result=result_of(40.0)) for name in ("good", "bad"))
    (bad / "environment.json").unlink()
    with pytest.raises(GraftworkError, match=r"bad is not a run: .* there is no environment\.json"):
        read_runs([good.parent])


def test_a_file_is_called_one(tmp_path):
    (tmp_path / "notes").touch()
    with pytest.raises(GraftworkError, match=r"notes is not a run: .* but it is a file"):
        read_runs([tmp_path / "notes"])
