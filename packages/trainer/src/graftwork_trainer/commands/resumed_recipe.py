"""The recipe of a run that goes on, with what the command line puts over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from graftwork import GraftworkError, Override, build_recipe, get_registry
from graftwork.recipe import Recipe
from graftwork.recipe_file import read_toml
from graftwork.schema import schema_of
from graftwork_trainer.stage_folders import STAGES, result_of, stage_folders, stage_names
from graftwork_trainer.status import COMPLETE_STATUSES


def load_resumed(path: str, overrides: Sequence[Override]) -> Recipe:
    """Read a run's recipe, in which every option stands.

    Where the command line names another component, the options that the new one does not have fall away:
    nobody wrote them for it. A stage that has ended keeps its recipe, but for the last one, which may go on.

    Args:
        path: ``RUN/recipe.toml``.
        overrides: put over it.

    Raises:
        GraftworkError: the file is no recipe, a name is unknown, or a value is for a stage that has ended.
    """
    data = read_toml(Path(path))
    tables = data
    if names := stage_names(data):
        tables = {STAGES: dict(zip(names, data[STAGES], strict=True))}
        overrides = list(_of_stages(overrides, tables[STAGES], Path(path).parent))
    for override in overrides:
        if override.path[-1] == "name":
            _drop_foreign_options(tables, override)
    return build_recipe(data, name=Path(path).stem, source=path, overrides=overrides)


def _of_stages(
    overrides: Sequence[Override], stages: Mapping[str, Mapping[str, Any]], run: Path
) -> Iterator[Override]:
    """What goes over each stage that is yet to be trained, by its name."""
    *before, _ = zip(stages, stage_folders(run, list(stages)), strict=True)
    ended = [name for name, folder in before if result_of(folder).get("status") in COMPLETE_STATUSES]
    numbered = dict(zip(map(str, range(1, len(stages) + 1)), stages, strict=True))
    for override in overrides:
        first, name, *path = override.path
        if first == STAGES:
            name = numbered.get(name, name)
            if name in ended:
                raise GraftworkError(f"{override.origin}: stage {name!r} has ended, and keeps its recipe")
            yield replace(override, path=(STAGES, name, *path))
            continue
        ahead = [name for name in stages if name not in ended]
        having = [name for name in ahead if first in stages[name]]
        yield from (replace(override, path=(STAGES, name, *override.path)) for name in having or ahead)


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
