"""Where the metrics of a run go: its record, ``metrics.jsonl``, and the trackers beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graftwork_trainer.causes import cause_of
from graftwork_trainer.going_on import GoingOn
from graftwork_trainer.trackers import JsonLines, TensorBoard, Tracker

RECORD = "metrics.jsonl"


class Recording:
    """Open from :meth:`open` to :meth:`close`, in the process that writes alone; others pass all over.

    A training ends for none of it: what fails is told, and what follows goes on without.

    Args:
        directory: of the run.
        going_on: what was told of it.
    """

    def __init__(self, directory: Path, going_on: GoingOn) -> None:
        self.trackers: Sequence[tuple[str, Tracker]] = [("tensorboard", TensorBoard())]
        self._directory, self._going_on = directory, going_on
        self._lines: JsonLines | None = None
        self._open: dict[str, Tracker] = {}

    def open(self, step: int, recipe: Mapping[str, Any]) -> float:
        """Go on with the metrics of an earlier part, as far as its checkpoint.

        Args:
            step: of the checkpoint, 0 at the beginning.
            recipe: as resolved, section by section.

        Returns:
            Seconds trained so far.
        """
        seconds = 0.0
        with self._going_on.without(RECORD):
            lines = JsonLines(self._directory / RECORD, step)
            seconds = _seconds_in(lines.last)
            self._lines = lines
            lines.write()
        for number, (name, tracker) in enumerate(self.trackers, start=1):
            # One may be there twice, with other options.
            key = name if name not in self._open else f"{name} ({number})"
            self._open[key] = tracker
            with self._without(key):
                tracker.open(self._directory, step, recipe)
        return seconds

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics of a step."""
        if self._lines is not None:
            with self._going_on.without(RECORD):
                self._lines.record(step, metrics)
        for name, tracker in list(self._open.items()):
            with self._without(name):
                tracker.record(step, metrics)

    def close(self) -> None:
        """Bring everything to where it goes."""
        lines, self._lines = self._lines, None
        if lines is not None:
            with self._going_on.without(RECORD):
                lines.close()
        for name, tracker in list(self._open.items()):
            with self._without(name):
                tracker.close()
        self._open = {}

    def drop(self) -> None:
        """Write nothing more, and close nothing: the directory is another's."""
        self._lines, self._open = None, {}

    @contextmanager
    def _without(self, name: str) -> Iterator[None]:
        """Go on without a tracker that fails in whatever way, and say so."""
        try:
            yield
        except Exception as error:  # of somebody's service, or of the disk
            self._open.pop(name, None)
            cause = cause_of(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            self._going_on.tell(f"tracker {name}", f"tracker {name} failed, which ends no training: {cause}")


def _seconds_in(record: Mapping[str, Any]) -> float:
    """Those that a record tells; 0 where it was damaged, since a training ends for none of it."""
    try:
        seconds = float(record.get("seconds", 0.0))
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
