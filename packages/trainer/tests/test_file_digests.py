"""Digests that are kept, and every doubt that makes them be taken anew."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_trainer import file_digests
from graftwork_trainer.file_digests import digests_of, forget_digests

SECOND = 1_000_000_000
_clock = time.time_ns


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read for a digest."""
    names: list[str] = []
    original = hashlib.file_digest

    def noting(stream: object, algorithm: str) -> object:
        names.append(Path(stream.name).name)  # type: ignore[attr-defined]
        return original(stream, algorithm)  # type: ignore[call-overload]

    monkeypatch.setattr(file_digests.hashlib, "file_digest", noting)
    return names


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the clock so many seconds on from now."""

    def move(seconds: float) -> None:
        now = _clock() + int(seconds * SECOND)
        monkeypatch.setattr(file_digests.time, "time_ns", lambda: now)

    return move


@pytest.fixture
def folder(tmp_path: Path, later: Callable[[float], None]) -> Path:
    """Three files that have rested."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(f"content of {name}")
    later(10)
    return folder


def taken(folder: Path) -> list[str]:
    return digests_of(sorted(folder.iterdir()), book=folder)


def expected(folder: Path) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())]


def test_unchanged_files_are_read_once(folder: Path, read: list[str]) -> None:
    assert taken(folder) == taken(folder) == expected(folder)
    assert read == ["a", "b", "c"]


def _append(file: Path) -> None:
    with file.open("a") as stream:
        stream.write("!")


def _overwrite(file: Path) -> None:
    """As long as before, and with the old time: only the file's own time of change tells."""
    before = file.stat()
    file.write_text(file.read_text()[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(file: Path) -> None:
    before = file.stat()
    other = file.with_name("other")
    other.write_text(file.read_text()[::-1])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def _touch(file: Path) -> None:
    os.utime(file, (0, 0))


@pytest.mark.parametrize("change", [_append, _overwrite, _replace, _touch])
def test_any_doubt_has_a_file_read_again_and_no_other(
    folder: Path, read: list[str], change: Callable[[Path], None]
) -> None:
    taken(folder)
    time.sleep(0.02)  # a tick of the file system's clock
    change(folder / "b")
    assert taken(folder) == expected(folder)
    assert read == ["a", "b", "c", "b"]


@pytest.mark.parametrize("seconds", [-10.0, 0.0, 1.0])
def test_what_has_just_changed_or_comes_from_the_future_is_not_believed(
    folder: Path, read: list[str], later: Callable[[float], None], seconds: float
) -> None:
    later(seconds)
    assert taken(folder) == taken(folder) == expected(folder)
    assert read == ["a", "b", "c"] * 2


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = hashlib.file_digest

    def writing(stream: object, algorithm: str) -> object:
        _append(folder / "b")
        return original(stream, algorithm)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(file_digests.hashlib, "file_digest", writing)
        digests_of([folder / "b"], book=folder)
    read.clear()
    assert digests_of([folder / "b"], book=folder) == expected(folder)[1:2]
    assert read == ["b"]


@pytest.mark.parametrize("damage", ["", "[]", '{"x": 3}', '{"x": [1, 2, 3]}', "[" * 100_000])
def test_a_damaged_book_is_begun_anew(folder: Path, read: list[str], cache: Path, damage: str) -> None:
    taken(folder)
    (page,) = (cache / "digests").iterdir()
    page.write_text(damage)
    assert taken(folder) == taken(folder) == expected(folder)
    assert read == ["a", "b", "c"] * 2


@pytest.mark.parametrize("wrong", ["digest", "likeness", "name"])
def test_a_book_that_is_not_as_it_was_written_is_not_believed(
    folder: Path, read: list[str], cache: Path, wrong: str
) -> None:
    digest = taken(folder)[1]
    (page,) = (cache / "digests").iterdir()
    old = {"digest": digest, "likeness": str((folder / "b").stat().st_ino), "name": str(folder / "b")}[wrong]
    written = page.read_text()
    assert old in written
    page.write_text(written.replace(old, old[:-1] + ("1" if old[-1] == "0" else "0")))
    assert taken(folder) == taken(folder) == expected(folder)
    assert read == ["a", "b", "c"] * 2


def test_forgotten_digests_are_taken_anew(folder: Path, read: list[str]) -> None:
    taken(folder)
    forget_digests(folder)
    taken(folder)
    assert read == ["a", "b", "c"] * 2


def test_books_are_apart_and_lose_what_is_gone(folder: Path, read: list[str], cache: Path) -> None:
    taken(folder)
    digests_of([folder / "a"], book=folder / "a")
    (folder / "a").unlink()
    taken(folder)
    assert read == ["a", "b", "c", "a"]
    assert len(list((cache / "digests").iterdir())) == 2


def test_without_a_cache_nothing_is_kept(
    folder: Path, read: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text("in the way")
    assert taken(folder) == taken(folder) == expected(folder)
    assert read == ["a", "b", "c"] * 2


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "unreadable").symlink_to("/proc/self/mem")
    for name, told in (
        ("missing", ": there is no such file"),
        ("unreadable", ": cannot be read: Input/output"),
    ):
        with pytest.raises(GraftworkError, match=f"^{folder / name}{told}"):
            digests_of([folder / name], book=folder)
