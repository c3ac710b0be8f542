"""Files that are no recipes: each is one sentence, which names it once and says what it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork.recipe_file import read_toml, refuse_depth


def _make(sort: str, path: Path) -> None:
    if sort == "folder":
        path.mkdir()
    elif sort == "pipe":
        os.mkfifo(path)
    elif sort == "dangling link":
        path.symlink_to("gone.toml")
    elif sort == "loop":
        path.symlink_to(path.name)
    elif sort == "secret":
        path.touch(mode=0)
    elif sort == "huge":
        path.touch()
        os.truncate(path, 2**31)


@pytest.mark.parametrize(
    ("sort", "told"),
    [
        ("absent", "no such file"),
        ("folder", "is a folder; name a .toml file"),
        ("pipe", "is a pipe or device; name a .toml file"),
        ("dangling link", "leads to gone.toml, which is not there"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
        ("huge", "has 2,147,483,648 bytes, and no recipe has more than"),
    ],
)
def test_what_is_no_readable_file(tmp_path, sort, told):
    path = tmp_path / "given.toml"
    _make(sort, path)
    with pytest.raises(GraftworkError) as caught:
        read_toml(path)
    assert str(caught.value).startswith(f"recipe {path}: {told}")
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_file_of_somebody_else_cannot_be_read(tmp_path):
    _make("secret", tmp_path / "given.toml")
    with pytest.raises(GraftworkError, match="cannot be read: Permission denied"):
        read_toml(tmp_path / "given.toml")


def test_a_name_that_no_system_has_is_told(tmp_path):
    for name in ("a\0b.toml", "x" * 300 + ".toml"):
        with pytest.raises(GraftworkError, match=r"no such file|File name too long"):
            read_toml(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[task\n", "is not TOML: .*line 1"),
        (b"\xff", "is not UTF-8 text: .* at byte 0"),
        ("a = 1".encode("utf-16"), "is not UTF-8 text"),
        (b"a = 1\0", "is not TOML"),
        (b"a.b = 1\na.b.c = 2", "is not TOML"),
        (b"a = " + b"9" * 5000, "is not TOML"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "deep"),
        (b"a = " + b"{b=" * 5000 + b"1" + b"}" * 5000, "deep"),
        (b"[" + b".".join([b"a"] * 5000) + b"]", "deep"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_a_file_holds_is_told_in_one_line(tmp_path, content, told):
    path = tmp_path / "given.toml"
    path.write_bytes(content)
    with pytest.raises(GraftworkError, match=told) as caught:
        read_toml(path)
    assert str(caught.value).startswith(f"recipe {path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbfa = 1", b"# only\r\n"])
def test_an_empty_file_and_a_byte_order_mark_are_read(tmp_path, content):
    path = tmp_path / "given.toml"
    path.write_bytes(content)
    assert read_toml(path) == ({"a": 1} if b"a" in content else {})


def test_depth_is_counted_in_tables_and_lists():
    refuse_depth({"a": [[{"b": 1}]] * 3}, "here")
    value: object = 1
    for _ in range(50):
        value = [{"a": value}]
    with pytest.raises(GraftworkError, match=r"^here: .* deep"):
        refuse_depth(value, "here")
