"""Samples that cannot be made, told by one sentence that names them."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from graftwork import GraftworkError
from graftwork.plugin_code import said_by
from graftwork_trainer.causes import cause_of


class InWorkerError(Exception):
    """What went wrong in a worker process, as the text of its traceback."""


class Failure:
    """Travels in the place of a batch that could not be made.

    Args:
        samples: that could not be made, in words.
        error: why.
        what: else could not be made of them, in words.
    """

    def __init__(self, samples: str, error: BaseException, what: str = "") -> None:
        self._samples, self._what, self._reason = samples, what, _told(error)
        self._error: BaseException | None = error
        self._traceback = "".join(traceback.format_exception(error))

    def __getstate__(self) -> dict[str, object]:
        # Not every exception can be sent to another process.
        return {**vars(self), "_error": None}

    def raise_in(self, data: str) -> NoReturn:
        """Raise it as one sentence; its cause has the traceback.

        Args:
            data: whose samples they are, in words.
        """
        sentence = f"{self._samples} of {data}{self._what}: {self._reason}"
        raise GraftworkError(sentence) from self._error or InWorkerError(self._traceback)


def _told(error: BaseException) -> str:
    """An exception in one line, with the place in somebody's code where it helps."""
    if isinstance(error, GraftworkError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return cause_of(error)
    first_line = next((line for line in said_by(error).splitlines() if line.strip()), "(no message)")
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {first_line}{place}"


def described(numbers: Sequence[int]) -> str:
    """Some numbers of samples in words.

    >>> described([17])
    'sample 17'
    >>> described([3, 17, 5])
    'samples 3, 17 and 5'
    >>> described(range(64))
    'samples 0, 1, 2, 3 and 60 more'
    """
    if len(numbers) == 1:
        return f"sample {numbers[0]}"
    shown = [str(number) for number in (numbers if len(numbers) <= 5 else numbers[:4])]
    last = shown.pop() if len(numbers) <= 5 else f"{len(numbers) - 4} more"
    return f"samples {', '.join(shown)} and {last}"
