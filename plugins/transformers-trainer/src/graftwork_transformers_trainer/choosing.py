"""One component and its options, checked like a section of a recipe, where there is no recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graftwork import Choice, Recipe, RecipeError, get_registry
from graftwork.resolution import Resolution
from graftwork.schema import options_of


def choose(
    kind: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
) -> Choice:
    """Look a component up and check options for it.

    Args:
        kind: its kind, "optimizer" for instance.
        name: ``name``, ``plugin:name`` or ``kind/plugin:name``.
        options: for the component and its companion, as a recipe would give them.
        defaults: for those of its options that ``options`` leaves open; what it does not have is passed over.

    Raises:
        GraftworkError: the name is unknown or claimed twice, or its target cannot be imported.
        RecipeError: every wrong option, a line each.
    """
    registry = get_registry()
    entry = registry.find_in(kind, name)
    known = options_of(registry.resolve(entry), registry.kinds[kind])
    open_defaults = {key: value for key, value in (defaults or {}).items() if key in known}
    table = {**open_defaults, **(options or {}), "name": name}
    resolution = Resolution(Recipe(name, entry.component.reference, {kind: table}), registry)
    choice = resolution._choose_section(kind, kind)
    if choice is None or resolution._mistakes:
        raise RecipeError(entry.component.reference, resolution._mistakes)
    return choice
