"""Parts of a user's files: to learn from, for validation, for the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from graftwork.errors import GraftworkError
from graftwork.realdata import split_fraction
from graftwork_trainer.folders import given_path

TEST_SHARE = 0.2
# Between the texts of one example where they are hashed together; no text holds it.
BETWEEN_TEXTS = "\x1f"
E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class HeldOutFiles:
    """Files beside the one to learn from.

    Args:
        validation_data: a file of validation examples; without it they are drawn from data.
        test_data: a file of test examples; without it a fifth of data is held out.
    """

    validation_data: str | None = None
    test_data: str | None = None

    def refuse_beside(self, data: str) -> None:
        """Refuse further files beside a registered name, which has parts of its own.

        Args:
            data: the name.

        Raises:
            GraftworkError: one is given.
        """
        for option, given in (("validation_data", self.validation_data), ("test_data", self.test_data)):
            if given is not None:
                raise GraftworkError(
                    f"{option} must be left out with data = {data!r}, which has its own; got {given!r}"
                )

    def paths(self, data: str, suffixes: Sequence[str]) -> dict[str, Path]:
        """All files by part: ``train``, and where they are given ``validation`` and ``test``.

        Args:
            data: the file to learn from.
            suffixes: that a file may have.

        Raises:
            GraftworkError: one is no such file.
        """
        given = {"train": data, "validation": self.validation_data, "test": self.test_data}
        found: dict[str, Path] = {}
        for part, name in given.items():
            if name is None:
                continue
            option = "data" if part == "train" else f"{part}_data"
            path = given_path(name, option)
            if not path.is_file() or path.suffix.lower() not in suffixes:
                raise GraftworkError(f"{option} {name!r} is not an existing {' or '.join(suffixes)} file")
            found[part] = path
        return found


def held_out(examples: Sequence[E], key: Callable[[E], str]) -> tuple[list[E], list[E]]:
    """Split a fifth off, by a stable hash: an example stays where it is as others come.

    Of few examples at least one is held out, and at least two are left, for training and for validation.

    Args:
        examples: of those with one key the first is kept.
        key: what makes an example the same as another.

    Returns:
        Examples to learn from, and for the test.

    >>> [len(part) for part in held_out([*range(100), *range(100)], str)]
    [86, 14]
    >>> [len(part) for part in held_out(range(3), str)]
    [2, 1]
    """
    unique = {key(example): example for example in reversed(examples)}
    count = sum(split_fraction(name) < TEST_SHARE for name in unique)
    count = min(max(count, 1), max(len(unique) - 2, 0))
    tested = set(sorted(unique, key=split_fraction)[:count])
    parts: tuple[list[E], list[E]] = ([], [])
    for name, example in reversed(unique.items()):
        parts[name in tested].append(example)
    return parts
