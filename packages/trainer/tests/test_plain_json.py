"""JSON of a run directory, in which anybody may have put anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_trainer.plain_json import read_json


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "b").write_text('{"a": [1]}')
    assert read_json(tmp_path / "b") == {"a": [1]}


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"a = " + b"[" * 100_000, b"\xff", b"a =", b"\0", b"1" * 5000]
)
def test_what_is_no_json_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(GraftworkError, match=f"^{tmp_path / 'a'}: not valid JSON: "):
        read_json(tmp_path / "a")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(GraftworkError, match=f"^{tmp_path / 'a'} is no file"):
        read_json(tmp_path / "a")
