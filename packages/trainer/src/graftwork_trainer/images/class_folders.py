"""Folders of pictures, one a class."""

from __future__ import annotations

from pathlib import Path

from graftwork import GraftworkError
from graftwork_trainer.folders import files_below
from graftwork_trainer.progress import tell_once

SUFFIXES = (".png", ".jpg", ".jpeg")


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class, by the name of its folder, in alphabetical order.

    Folders within a class are its own; what begins with a dot is passed over, and what is no picture by its
    name is told.

    Args:
        folder: that holds those of the classes.

    Raises:
        GraftworkError: it cannot be read, holds no picture, or one that is in no class's folder.
    """
    if not folder.is_dir():
        raise GraftworkError(f"folder {folder}: no such folder; it holds one of pictures for each class")
    classes: dict[str, list[Path]] = {}
    others = []
    for file in files_below(folder):
        name, *rest = file.relative_to(folder).parts
        if file.suffix.lower() not in SUFFIXES:
            others.append(file)
        elif not rest:
            raise GraftworkError(f"{file}: a picture that is in no folder of a class; move it to its own")
        else:
            classes.setdefault(name, []).append(file)
    if not classes:
        raise GraftworkError(
            f"folder {folder}: no picture ({', '.join(SUFFIXES)}) is in any folder of a class in it"
        )
    if others:
        tell_once(
            f"{folder}: {len(others):,} file(s) that end in none of {', '.join(SUFFIXES)} are passed over "
            f"(first: {others[0].relative_to(folder)})"
        )
    return dict(sorted(classes.items()))
