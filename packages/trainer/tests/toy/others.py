"""A tracker, a callback and a reproduction."""

from __future__ import annotations

from pathlib import Path

from graftwork_toy.files import note

from graftwork import Finding


class FailingTracker:
    """Fails where it is told to."""

    def __init__(self, event: str) -> None:
        self.event = event

    def open(self, run, step, recipe):
        assert recipe["task"]["name"]
        self.happen("open")

    def record(self, step, metrics):
        self.happen("record")

    def close(self):
        self.happen("close")

    def happen(self, event):
        if event == self.event:
            raise RuntimeError("nobody is there")


class Telling:
    """Writes a word down at the end."""

    def __init__(self, path: Path, word: str = "ended") -> None:
        self.path, self.word = path, word

    def on_end(self, moment):
        note(str(self.path), f"{self.word}-{moment.step}")


def reproduce(output, factor: float = 1.0):
    """A reproduction that is arithmetic."""
    (output / "figure.txt").write_text(str(factor))
    return [Finding("two times factor", published=2 * factor / 1.1, measured=2 * factor, note="arithmetic")]
