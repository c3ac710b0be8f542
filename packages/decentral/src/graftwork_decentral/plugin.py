"""What this package registers: names and import paths, no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Component, hookimpl


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """Yield topologies, strategies, trainers and tasks."""
    yield from ()
