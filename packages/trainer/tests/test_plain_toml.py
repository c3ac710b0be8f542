"""TOML and JSON of a run directory, in which anybody may have put anything.

Reached from here: ``plain_json.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_trainer.plain_json import read_json
from graftwork_trainer.plain_toml import read_toml


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('[model]\nname = "模型"\n', "utf-8")
    assert read_toml(tmp_path / "a") == ('[model]\nname = "模型"\n', {"model": {"name": "模型"}})
    (tmp_path / "b").write_text('{"a": [1]}')
    assert read_json(tmp_path / "b") == {"a": [1]}


@pytest.mark.parametrize("read", [read_json, read_toml])
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"a = " + b"[" * 100_000, b"\xff", b"a =", b"\0", b"1" * 5000]
)
def test_what_is_neither_is_named(read: Callable[[Path], object], content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(GraftworkError, match=f"^{tmp_path / 'a'}: not valid (TOML|JSON): "):
        read(tmp_path / "a")


@pytest.mark.parametrize("read", [read_json, read_toml])
def test_a_pipe_is_not_waited_for(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(GraftworkError, match=f"^{tmp_path / 'a'} is no file"):
        read(tmp_path / "a")
