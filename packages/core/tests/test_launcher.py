"""What torchrun is told by its processes, and that they say a sentence once."""

from __future__ import annotations

import json

import pytest

from graftwork.cli import main
from graftwork.launcher import tell_launcher


@pytest.fixture
def rank(tmp_path, monkeypatch):
    """Be one process of several that torchrun started here."""

    def be(number):
        file = tmp_path / "attempt_0" / str(number) / "error.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
        return file

    return be


def test_what_all_processes_say_is_said_once_and_in_the_file_of_each(rank, capsys):
    files = []
    for number in range(3):
        files.append(rank(number))
        assert main(["info", "optimizer/none-of-this-name"]) == 2
    told = capsys.readouterr().err
    assert told.count("none-of-this-name") == 1
    for file in files:
        # torchrun shows py_callstack of the first that failed.
        shown = json.loads(file.read_text())["message"]["extraInfo"]["py_callstack"]
        assert shown == told.strip()


def test_what_each_process_says_of_its_own_is_said(rank, capsys):
    for number in range(2):
        rank(number)
        assert main(["info", f"optimizer/none-of-{number}"]) == 2
    told = capsys.readouterr().err
    assert "none-of-0" in told
    assert "none-of-1" in told


@pytest.mark.parametrize("file", [None, "", "/proc/no/such/folder/0/error.json"])
def test_it_is_said_where_there_is_no_launcher_or_no_room_for_its_file(file):
    environment = {} if file is None else {"TORCHELASTIC_ERROR_FILE": file}
    assert tell_launcher("a sentence", environment)
    assert tell_launcher("a sentence", environment)
