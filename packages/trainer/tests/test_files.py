"""Files that users give: read, or one sentence that names them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_trainer.files import open_given, read_given


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"red")
    (tmp_path / "b").symlink_to("a")
    assert read_given(tmp_path / "b") == b"red"
    with open_given(tmp_path / "b") as stream:
        assert stream.read() == b"red"


@pytest.mark.parametrize("read", [read_given, open_given])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "a: there is no such file"),
        (Path.mkdir, "a is a folder, and a file is needed in its place"),
        (os.mkfifo, "a is no file, and a file is needed in its place"),
        (lambda path: path.symlink_to("gone"), "a: a link to gone, which leads nowhere; mend or remove it"),
        (lambda path: path.symlink_to("a"), "a: a link to a, which leads nowhere; mend or remove it"),
    ],
)
def test_what_is_none_is_named(
    read: Callable[[Path], object], make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "a")
    with pytest.raises(GraftworkError, match=f"^{tmp_path}/{message}$"):
        read(tmp_path / "a")


def test_what_the_system_refuses_is_named_though_its_error_names_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/proc/self/mem")
    with pytest.raises(GraftworkError, match=f"^{tmp_path / 'a'}: cannot be read: Input/output error$"):
        read_given(tmp_path / "a")
    with pytest.raises(GraftworkError, match=r"^/etc/passwd/a: cannot be read: Not a directory$"):
        read_given(Path("/etc/passwd/a"))
    with pytest.raises(GraftworkError, match=r"a: cannot be read: File name too long$"):
        read_given(tmp_path / ("a" * 300))
