"""A reproduction without what draws its picture: said first, and everything else is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork import Extra
from graftwork_optim_core.reproductions import gwt, output


def test_without_matplotlib_it_says_so_and_writes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "PICTURE", Extra("matplotlib", ("no_such_module",), "its picture"))
    gwt.reproduce(tmp_path)
    assert capsys.readouterr().out == "without a picture, which matplotlib draws: pip install 'matplotlib'\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["findings.json", "state_sizes.csv"]
