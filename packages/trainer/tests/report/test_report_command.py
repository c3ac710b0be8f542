"""``graftwork report`` as it is called; what it writes and prints is tested beside what does so.

Reached from here: ``commands/report.py``, ``commands/train.py``.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from graftwork.cli import main
from graftwork_trainer.commands import report as module
from graftwork_trainer.commands.train import print_report
from graftwork_trainer.report import read_run, write


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


@pytest.mark.parametrize("out", ["file", "file/deeper", "broken"])
def test_out_in_the_place_of_a_file_is_one_sentence(monkeypatch, tmp_path, capsys, two_variants, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to("nowhere")
    assert main(["report", str(two_variants[0]), "--out", out]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert f"--out {out}: {out.partition('/')[0]} is no directory" in sentence


def test_a_run_that_is_named_twice_is_one(monkeypatch, tmp_path, capsys, write_run, result_of):
    run = write_run("a", result=result_of(40.0))
    monkeypatch.setattr(write, "_FIGURES", SimpleNamespace(missing=True, requirement="matplotlib"))
    again = [run, run.parent, run / ".." / "a", read_run(run)]
    print_report([run, *again[2:]], tmp_path / "out", title="A")
    once = capsys.readouterr().out
    assert "40.00" in once
    assert "±" not in once
    assert main(["report", *map(str, again[:3]), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == once


def test_a_place_that_is_named_twice_is_in_the_title_once(reported, write_run):
    run = write_run("a")
    assert reported(run, run, run / ".." / "a")[1] == "a"
