"""Files below a folder: what is passed over, followed, and refused by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_trainer.folders import files_below, given_path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / ".data"
    for name in ("b.txt", "a/z.txt", "a.txt", "._b.txt", ".ipynb_checkpoints/b.txt", "a/.git/deep/x.txt"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return folder


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files_below(folder)]


def test_what_begins_with_a_dot_is_passed_over(data: Path) -> None:
    assert names(data) == ["a.txt", "a/z.txt", "b.txt"]


def test_links_are_followed_even_twice_to_one_place(data: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "one.txt").touch()
    for name in ("c", "d"):
        (data / name).symlink_to(elsewhere)
    (data / "e.txt").symlink_to("b.txt")
    os.mkfifo(data / "pipe.txt")
    assert names(data) == ["a.txt", "a/z.txt", "b.txt", "c/one.txt", "d/one.txt", "e.txt"]


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("a/gone.txt", "nowhere.txt", "a link to nowhere.txt, which leads nowhere; mend or remove it"),
        ("a/gone", "no/folder", "a link to no/folder, which leads nowhere"),
        ("a/self", "self", "a link to self, which leads nowhere"),
        ("a/up", "..", "a link that leads back to a folder above it"),
        ("a/here", ".", "a link that leads back to a folder above it"),
    ],
)
def test_a_link_that_cannot_be_followed_is_named(data: Path, name: str, target: str, message: str) -> None:
    (data / name).symlink_to(target)
    with pytest.raises(GraftworkError, match=f"{data / name}: {message}"):
        files_below(data)


def test_links_that_lead_nowhere_are_no_matter_where_hidden(data: Path) -> None:
    (data / ".#b.txt").symlink_to("me@host.1234")  # how Emacs locks a file
    assert "b.txt" in names(data)


def test_a_folder_that_cannot_be_read_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser, whom containers run tests as, may read everything.
    listed = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:
        if folder.name == "a":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(GraftworkError, match=f"folder {data / 'a'} cannot be read: Permission denied"):
        files_below(data)


def test_a_path_is_given_whether_something_is_there_or_not(data: Path) -> None:
    assert given_path(str(data / "a.txt"), "data").read_text() == "a.txt"
    assert not given_path(str(data / "none.txt"), "data").exists()
    assert not given_path(str(data / "a.txt" / "below"), "data").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "a link to nowhere, which leads nowhere"),
        ("self", "cannot be read: Too many levels of symbolic links"),
        ("x" * 999, "cannot be read: File name too long"),
    ],
)
def test_a_path_that_no_file_can_have_is_told(data: Path, name: str, message: str) -> None:
    (data / "gone").symlink_to("nowhere")
    (data / "self").symlink_to("self")
    with pytest.raises(GraftworkError, match=f"^data .*{message}"):
        given_path(str(data / name), "data")


def test_a_home_that_nobody_has_is_told() -> None:
    with pytest.raises(
        GraftworkError, match="data '~nobody-here/x' cannot be read: Could not determine home"
    ):
        given_path("~nobody-here/x", "data")
