"""The recipe of a run that goes on, with what the command line puts over it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graftwork import GraftworkError, Override, build_recipe, get_registry
from graftwork.recipe import Recipe
from graftwork.schema import schema_of


def load_resumed(path: str, overrides: Sequence[Override]) -> Recipe:
    """Read a run's recipe, in which every option stands.

    Where the command line names another component, the options that the new one does not have fall away:
    nobody wrote them for it.

    Args:
        path: ``RUN/recipe.toml``.
        overrides: put over it.

    Raises:
        GraftworkError: the file is no recipe, or a name is unknown.
    """
    try:
        data = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise GraftworkError(f"recipe {path}: cannot be read: {error}") from error
    for override in overrides:
        if override.path[-1] == "name":
            _drop_foreign_options(data, override)
    return build_recipe(data, name=Path(path).stem, source=path, overrides=overrides)


def _drop_foreign_options(data: dict[str, Any], override: Override) -> None:
    registry = get_registry()
    *path, _ = override.path
    table: Any = data
    for part in path:
        table = table.get(part, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict) or path[-1] not in registry.kinds:
        return
    entry = registry.find_in(path[-1], str(override.value))
    known = schema_of(registry.resolve(entry), registry.kinds[path[-1]]).options
    for option in [key for key in table if key != "name" and key not in known]:
        del table[option]
