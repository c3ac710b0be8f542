"""What this plugin registers: names and import paths, no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Component, Kind, hookimpl


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """Yield the optimizer and a recipe that uses it."""
    yield Component(
        Kind.OPTIMIZER,
        "lion",
        "graftwork_plugin_template.lion:Lion",
        "steps by the sign of an interpolated momentum; one state tensor per weight",
        "arXiv:2302.06675",
    )
    yield Component(
        Kind.RECIPE,
        "lm-pretrain-lion",
        "graftwork_plugin_template:recipes/lm-pretrain-lion.toml",
        "pretrain a small LLaMA on English prose with Lion",
    )
