"""``graftwork report`` as it is called; what it writes and prints is tested beside what does so."""

from __future__ import annotations

import pytest

from graftwork.cli import main
from graftwork_trainer.commands import report as module


@pytest.fixture
def reported(monkeypatch):
    """A function that calls the command, and returns the runs' names and the title of what is written."""

    def call(*places):
        asked = []
        monkeypatch.setattr(module, "print_report", lambda runs, out, title: asked.append((runs, title)))
        assert main(["report", *map(str, places)]) == 0
        ((runs, title),) = asked
        return [run.path.name for run in runs], title

    return call


def test_a_folder_of_a_comparison_has_one_report(reported, two_variants):
    names, title = reported(two_variants[0].parent)
    assert sorted(names) == sorted(path.name for path in two_variants)
    assert title == "runs"


def test_runs_are_called_by_their_names_the_first_of_many(reported, write_run):
    runs = [write_run(f"run-{place}", seed=place) for place in range(9)]
    assert reported(*runs) == ([run.name for run in runs], "run-0, run-1, run-2 and 6 more")
    assert reported(*runs[:2], "--title", "Mine")[1] == "Mine"
    assert reported(*runs[:2])[1] == "run-0, run-1"


@pytest.mark.parametrize(
    ("place", "sentence"), [("empty", "empty is neither a run"), ("", "must name a directory")]
)
def test_what_is_no_run_is_one_sentence(monkeypatch, tmp_path, capsys, place, sentence):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["report", place]) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
