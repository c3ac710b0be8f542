"""Going on without what a training does not need, a file that is refused for one, and saying so once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graftwork_trainer.causes import cause_of
from graftwork_trainer.progress import tell


class GoingOn:
    """What was told of a run's directory.

    Args:
        directory: of the run.
        shown: whether this process says anything.
    """

    def __init__(self, directory: Path, *, shown: bool) -> None:
        self._directory, self._shown = directory, shown
        self._told: set[str] = set()

    def tell(self, subject: str, text: str) -> None:
        """Say something of a subject, once."""
        if self._shown and subject not in self._told:
            self._told.add(subject)
            tell(text)

    def works_again(self, subject: str) -> None:
        """Have what goes wrong with a subject told anew."""
        self._told.discard(subject)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Go on without a file of the run that the system refuses, and say so."""
        try:
            yield
        except OSError as error:
            file = self._directory / name
            self.tell(name, f"{file} cannot be written, which ends no training: {cause_of(error)}")
