"""What is read of a file of data is what its digest is of, however it changes meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from graftwork import GraftworkError
from graftwork_trainer.file_digests import digests_of
from graftwork_trainer.known_file import KnownFile
from graftwork_trainer.records import records
from graftwork_trainer.records.lines import numbered_lines

Reader = Callable[..., Iterator[Any]]
CONTENT = {
    "a.csv": b"text,label\nred,1\nblue,0\n",
    "semicolons.csv": b"text;label\nred, or so;1\nblue;0\n",
    "said.csv": b"sep=,\ntext,label\nred,1\n",
    "a.tsv": b"text\tlabel\nred\t1\n",
    "a.jsonl": b'{"text": "red"}\n{"text": "blue"}\n',
    "a.txt": b"red\nblue\n",
    "empty.csv": b"",
}
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "appended": lambda content: content + content.splitlines(keepends=True)[-1],
    "other bytes": lambda content: content.replace(b"red", b"tan"),
    "emptied": lambda content: b"",
}


def reader_of(name: str) -> Reader:
    return numbered_lines if name.endswith(".txt") else records


@pytest.mark.parametrize("name", CONTENT)
def test_a_file_that_stays_as_it_is_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(CONTENT[name])
    known = KnownFile(path, hashlib.sha256(CONTENT[name]).hexdigest(), path)
    assert list(known.read(reader_of(name))) == list(reader_of(name)(path))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", [name for name in CONTENT if CONTENT[name]])
def test_one_that_is_another_since_its_digest_was_taken_is_refused_at_its_end(
    name: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    path = tmp_path / name
    path.write_bytes(CONTENT[name])
    known = KnownFile(path, digests_of([path], book=path)[0], path)
    path.write_bytes(CHANGES[change](CONTENT[name]))
    with pytest.raises(GraftworkError, match=f"{path}: changed since its digest was taken"):
        list(known.read(reader_of(name)))
    assert digests_of([path], book=path) == [hashlib.sha256(path.read_bytes()).hexdigest()]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_what_is_no_file_is_never_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(GraftworkError, match=f"{tmp_path / name} is no file"):
        digests_of([tmp_path / name], book=tmp_path)
    with pytest.raises(GraftworkError, match=f"{tmp_path / name} is no file"):
        list(reader_of(name)(tmp_path / name))
