"""The three hooks of a plugin. Each yields frozen data; none may import torch."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from graftwork.component import Command, Component, Kind

hookspec = pluggy.HookspecMarker("graftwork")
hookimpl = pluggy.HookimplMarker("graftwork")


@hookspec
def graftwork_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield what the plugin registers."""


@hookspec
def graftwork_kinds() -> Iterable[Kind]:  # type: ignore[empty-body]
    """Yield further kinds, each with its contract."""


@hookspec
def graftwork_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Yield further subcommands of ``graftwork``."""
