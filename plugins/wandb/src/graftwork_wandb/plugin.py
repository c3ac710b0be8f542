"""What this package registers; imports no wandb."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Component, Kind, hookimpl


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """The tracker."""
    yield Component(
        Kind.TRACKER,
        "wandb",
        "graftwork_wandb.tracker:WandbTracker",
        "a run of Weights & Biases in RUN/wandb, offline unless told otherwise",
    )
