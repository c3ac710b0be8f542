"""Which files of a folder are pictures of which class."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_trainer.images.class_folders import class_folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("dog/b.png", "dog/a.JPG", "dog/more/c.jpeg", "cat/a.png"):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "train"


def test_what_begins_with_a_dot_is_passed_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("dog/._a.png", "dog/.ipynb_checkpoints/a.png", ".cache/a.png"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = {
        name: [str(file.relative_to(folder)) for file in files]
        for name, files in class_folders(folder).items()
    }
    assert found == {"cat": ["cat/a.png"], "dog": ["dog/a.JPG", "dog/b.png", "dog/more/c.jpeg"]}
    assert capsys.readouterr().err == ""


def test_what_is_no_picture_by_its_name_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cat" / "labels.txt").touch()
    (folder / "dog" / "a.webp").touch()
    assert len(class_folders(folder)) == 2
    told = "2 file(s) that end in none of .png, .jpg, .jpeg are passed over (first: cat/labels.txt)"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("loose.png", None, "loose.png: a picture that is in no folder of a class"),
        ("dog/gone.png", "nowhere.png", "gone.png: a link to nowhere.png, which leads nowhere"),
        ("dog/up", "..", "dog/up: a link that leads back to a folder above it"),
    ],
)
def test_what_belongs_nowhere_is_named(folder: Path, name: str, target: str | None, message: str) -> None:
    if target is None:
        (folder / name).touch()
    else:
        (folder / name).symlink_to(target)
    with pytest.raises(GraftworkError, match=message):
        class_folders(folder)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match="no such folder"):
        class_folders(tmp_path / "train")
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(GraftworkError, match="no picture"):
        class_folders(tmp_path / "train")
