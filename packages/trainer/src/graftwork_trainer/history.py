"""What was another when a run was resumed: ``history.json``, oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graftwork import GraftworkError
from graftwork_trainer.durable import write_durably
from graftwork_trainer.plain_json import read_json, to_json

NAME = "history.json"


@dataclass(frozen=True, slots=True)
class Changed:
    """One thing that was changed.

    Args:
        step: from which it is used.
        what: the option, or the fact of the data.
        before: its value until then.
        after: its value since.
        at: when, in ISO format.
    """

    step: int
    what: str
    before: Any
    after: Any
    at: str = ""

    def is_like(self, other: Changed) -> bool:
        """Whether both are the same change, made at whatever time."""
        return (self.step, self.what, self.after) == (other.step, other.what, other.after)


def read_history(run: Path) -> list[Changed]:
    """Read what was changed in a run; nothing where there is no such file.

    Raises:
        GraftworkError: it is not what it should be.
    """
    path = run / NAME
    if not path.exists():
        return []
    try:
        return [
            Changed(int(entry["step"]), str(entry["what"]), entry["before"], entry["after"], entry["at"])
            for entry in read_json(path)
        ]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise GraftworkError(
            f"{path}: expected a list of objects with step, what, before, after and at: {error!r}"
        ) from error


def write_history(run: Path, history: Sequence[Changed]) -> None:
    """Write it.

    Raises:
        OSError: it could not be written; what was there is untouched.
    """
    write_durably(run / NAME, to_json([asdict(changed) for changed in history]).encode())
