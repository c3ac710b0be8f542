"""What the toys write to disks."""

from __future__ import annotations

import contextlib
from pathlib import Path


def fill(path):
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(512))


def note(path, line):
    if path:
        with Path(path).open("a") as stream:
            stream.write(f"{line}\n")
