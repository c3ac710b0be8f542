"""The command line that a run keeps."""

from __future__ import annotations

import sys

import pytest

from graftwork_trainer.command_line import command_line, for_children


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["/venv/lib/graftwork/__main__.py", "train", "my recipe.toml"], "graftwork train 'my recipe.toml'"),
        (["/venv/bin/graftwork", "train", "x"], "graftwork train x"),
        (["mine.py", "--fast"], "mine.py --fast"),
        ([""], "python"),
        ([], "python"),
    ],
)
def test_the_command_is_told_as_it_is_typed(
    monkeypatch: pytest.MonkeyPatch, given: list[str], told: str
) -> None:
    monkeypatch.setattr(sys, "argv", given)
    assert command_line() == told


def test_a_run_of_a_comparison_tells_the_comparisons_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/graftwork", "compare", "x"])
    given = for_children()
    monkeypatch.setattr(sys, "argv", ["/bin/graftwork", "train", "recipes/x.toml"])
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert command_line() == "graftwork compare x"
