"""A recipe: TOML sections that name components and set their options.

Reading a recipe (:func:`load_recipe`) checks what core owns and imports no target; :meth:`Recipe.resolve`
imports the targets and checks every option against their signatures. Either reports all mistakes at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from graftwork.catalogue import package_of
from graftwork.choice import Choice
from graftwork.component import Kind
from graftwork.errors import AmbiguousNameError, GraftworkError, RecipeError, UnknownNameError, did_you_mean
from graftwork.misspelt import key_of_name, lacking_section, unusable_name
from graftwork.overrides import Override, product
from graftwork.plugin_code import cause_of, plugin_code
from graftwork.recipe_file import read_text, read_toml, refuse_depth
from graftwork.registry import Entry, Registry, get_registry
from graftwork.resolution import Resolution, Resolved
from graftwork.stages import SECTION, overrides_of, read_stages, told_by_stage
from graftwork.tables import NO_SOURCE, Tables
from graftwork.toml import dumps, key_text, shown

# Read by people, not by any component.
_PROSE = ("description",)
COMPARE = "compare"


@dataclass(frozen=True, slots=True)
class Recipe(Tables):
    """Sections as a file and the command line gave them, the ``for`` tables of the chosen names merged in.

    Args:
        name: the registered name or the file's stem.
        source: the file, for messages.
        sections: section to table; each table has a ``name``. Of a recipe with stages, ``stages`` alone: a
            list of their names and sections.
        origins: dotted key to where it was said, where that is not the file.
        texts: dotted key to the text of the command line, where it was said there.
        shared: sections that may be left unused.
        named: section to its tables ``[section.for.NAME]``, by name.
        written: section to what it was written as, where that was a misspelling.
        stages: a recipe for each, in order; none where there is one training.
        compare: what ``graftwork compare`` compares unless it is told, ``KEY=A,B`` each.
    """

    stages: tuple[Recipe, ...] = ()
    compare: tuple[str, ...] = ()

    def resolve(self, registry: Registry | None = None) -> Resolved:
        """Import what the recipe names and check every option.

        Raises:
            RecipeError: all mistakes, a line each.
        """
        registry = registry or get_registry()
        if not self.stages:
            return Resolution(self, registry).run()
        resolved: list[Resolved] = []
        mistakes: dict[str, Sequence[str]] = {stage.name: () for stage in self.stages}
        for stage in self.stages:
            try:
                resolved.append(Resolution(stage, registry).run())
            except RecipeError as error:
                mistakes[stage.name] = error.mistakes
        told = told_by_stage(mistakes)
        if not told:
            unused = frozenset.intersection(*(stage.shared for stage in self.stages))
            unused -= {section for stage in resolved for section in stage.sections}
            told = [f"[{section}]: no stage of this recipe uses it" for section in sorted(unused)]
        if told:
            raise RecipeError(self.source, told)
        last = resolved[-1]
        return Resolved(
            self.name, last.task, last.trainer, _sections_of(resolved), tuple(resolved), self.source
        )

    def to_toml(self) -> str:
        """The recipe as a file."""
        return dumps(self.sections)


def load_recipe(
    reference: str,
    overrides: Sequence[Override] = (),
    *,
    registry: Registry | None = None,
    trains: bool = True,
) -> Recipe:
    """Read a recipe from a file or by its registered name.

    Args:
        reference: a path ending in ``.toml``, or a name that ``graftwork list recipe`` shows.
        overrides: put over the file's values, later ones over earlier ones.
        registry: the installed plugins unless given.
        trains: whether a task and a trainer take its sections, by whom all that is wrong is then looked for.

    Raises:
        GraftworkError: no such file or name, or the file is not TOML; the message says where.
        RecipeError: a section is no table or names nothing registered; then all that is wrong.
    """
    registry = registry or get_registry()
    name, path = _locate(reference, registry)
    return build_recipe(
        read_toml(path), name=name, source=str(path), overrides=overrides, registry=registry, trains=trains
    )


def recipe_text(reference: str, registry: Registry) -> str:
    """What a recipe's file holds, see :func:`load_recipe`."""
    return read_text(_locate(reference, registry)[1])


def build_recipe(
    data: Mapping[str, Any],
    *,
    name: str = "recipe",
    source: str = NO_SOURCE,
    overrides: Sequence[Override] = (),
    registry: Registry | None = None,
    trains: bool = True,
) -> Recipe:
    """Make a recipe of parsed TOML; see :func:`load_recipe`."""
    registry = registry or get_registry()
    refuse_depth(data, source)
    for override in overrides:
        refuse_depth([*override.path[1:], override.value], override.origin)
    mistakes: list[str] = []
    tables: dict[str, dict[str, Any]] = {}
    for section, table in data.items():
        if section in (*_PROSE, SECTION, COMPARE):
            continue
        if isinstance(table, Mapping):
            tables[section] = _copy(table)
        else:
            mistakes.append(_no_section(section, table))
    for key in _PROSE:
        if not isinstance(data.get(key, ""), str):
            mistakes.append(f"{key}: must be text, got {shown(data[key])}")
    empty = Recipe(name, source, {}, compare=_compared(data.get(COMPARE, []), mistakes))
    if SECTION in data:
        recipe, of_stages = _staged(data[SECTION], tables, empty, overrides, registry, mistakes)
    else:
        recipe = _plain(tables, empty, overrides, registry, mistakes)
        of_stages = {}
    if not (mistakes or any(of_stages.values())):
        return recipe
    choices: Sequence[Choice] = ()
    # One mistake must not hide another: what else is wrong shows where targets are asked.
    if recipe.stages:
        for stage in recipe.stages:
            more = Resolution(stage, registry).error()
            of_stages[stage.name] += more.mistakes if more else ()
        mistakes += told_by_stage({name: dict.fromkeys(told) for name, told in of_stages.items()})
    elif SECTION not in data and trains and (more := Resolution(recipe, registry).error()):
        mistakes += more.mistakes
        choices = more.choices
    raise RecipeError(source, list(dict.fromkeys(mistakes)), choices)


def _no_section(section: str, given: object) -> str:
    key = key_text(section)
    if isinstance(given, list) and given and all(isinstance(item, Mapping) for item in given):
        return f"{key}: must be one section, write [{key}] for [[{key}]]"
    return f'{key}: must be a section, [{key}] with name = "...", got {shown(given)}'


def _compared(given: object, mistakes: list[str]) -> tuple[str, ...]:
    """What a recipe wants to see compared, as the command line would have it too."""
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        mistakes.append(
            f"{COMPARE}: must be a list of texts like 'optimizer.name=adamw,sgd', got {shown(given)}"
        )
        return ()
    texts: tuple[str, ...] = tuple(given)
    try:
        product(texts, option=COMPARE)
    except RecipeError as error:
        mistakes.extend(error.mistakes)
        return ()
    except GraftworkError as error:
        mistakes.append(str(error))
        return ()
    return texts


def _plain(
    tables: dict[str, dict[str, Any]],
    empty: Recipe,
    overrides: Sequence[Override],
    registry: Registry,
    mistakes: list[str],
) -> Recipe:
    """One training's recipe, of tables that are its own."""
    origins, texts = _apply(overrides, tables, mistakes)
    trainer = tables.setdefault("trainer", {})
    if key_of_name(trainer) is None:
        tables["trainer"] = {"name": _standard(registry), **trainer}
    if "task" not in tables:
        mistakes.append(lacking_section("task"))
    named = {section: _tables_for_names(table) for section, table in tables.items()}
    merged = {
        section: _merge_named(section, table, origins, registry, mistakes)
        for section, table in tables.items()
    }
    for section, table in merged.items():
        mistakes.extend(_check_name(section, table, origins, registry))
    return replace(empty, sections=merged, origins=origins, texts=texts, named=named)


def _standard(registry: Registry) -> str:
    """What trains where a recipe does not say."""
    try:
        return registry.name_of(registry.find_default("trainer", "standard"))
    except GraftworkError:  # it is told with the rest
        return "standard"


def _staged(
    given: object,
    base: dict[str, dict[str, Any]],
    empty: Recipe,
    overrides: Sequence[Override],
    registry: Registry,
    mistakes: list[str],
) -> tuple[Recipe, dict[str, list[str]]]:
    """A recipe of stages, each a recipe by itself, and the mistakes of each."""
    if "trainer" in base and key_of_name(base["trainer"]) is None:
        base["trainer"]["name"] = _standard(registry)  # whose options its options then are
    stages = read_stages(given, base, mistakes)
    recipes: list[Recipe] = []
    by_stage: dict[str, list[str]] = {stage.name: [] for stage in stages}
    for stage, own in zip(stages, overrides_of(stages, overrides, mistakes), strict=True):
        # What the command line says of this very stage is for it.
        meant = {override.path[2] for override in overrides if stage.is_meant_by(override)}
        as_given = replace(empty, name=stage.name, shared=stage.shared - meant)
        recipes.append(_plain(stage.tables, as_given, own, registry, by_stage[stage.name]))
    return replace(empty, sections=_sections_of(recipes), stages=tuple(recipes)), by_stage


def _sections_of(stages: Sequence[Recipe] | Sequence[Resolved]) -> dict[str, Any]:
    return {SECTION: [{"name": stage.name, **stage.sections} for stage in stages]}


def _copy(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in table.items()}


def _apply(
    overrides: Sequence[Override], tables: dict[str, dict[str, Any]], mistakes: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Put the command line over tables; return where each key was said, and by what text."""
    origins: dict[str, str] = {}
    texts: dict[str, str] = {}
    for override in overrides:
        if override.path[0] == SECTION:
            mistakes.append(f"{override.origin}: the recipe has no stages")
            continue
        table = tables.setdefault(override.path[0], {})
        for part in override.path[1:-1]:
            inner = table.setdefault(part, {})
            if isinstance(inner, str):  # a nested reference by bare name, about to get options
                inner = table[part] = {"name": inner}
            if not isinstance(inner, dict):
                mistakes.append(f"{override.origin}: {part!r} is a value, not a table")
                break
            table = inner
        else:
            table[override.path[-1]] = override.value
            origins[override.key] = override.origin
            texts.pop(override.key, None)
            if override.text is not None:
                texts[override.key] = override.text
    return origins, texts


def _tables_for_names(table: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    named = table.get("for", {})
    if not isinstance(named, Mapping):
        return {}
    return {name: inner if isinstance(inner, Mapping) else {} for name, inner in named.items()}


def _merge_named(
    section: str,
    table: Mapping[str, Any],
    origins: dict[str, str],
    registry: Registry,
    mistakes: list[str],
) -> dict[str, Any]:
    """Lay ``[section.for.NAME]`` over the section where NAME was chosen; the command line still wins."""
    merged = {key: value for key, value in table.items() if key != "for"}
    named = table.get("for", {})
    if not isinstance(named, Mapping) or not all(isinstance(inner, Mapping) for inner in named.values()):
        mistakes.append(f"{key_text(section)}.for: must hold tables, [{key_text(section)}.for.NAME]")
        return merged
    chosen = str(merged.get("name"))
    if section in registry.kinds and chosen not in named and (meant := registry.find_meant(section, chosen)):
        chosen = meant.component.name  # its full name, or a misspelt one
    for key, value in named.get(chosen, named.get(chosen.rpartition(":")[2], {})).items():
        if f"{section}.{key}" not in origins:
            merged[key] = value
            origins[f"{section}.{key}"] = f"[{section}.for.{chosen}]"
    return merged


def _check_name(
    section: str, table: Mapping[str, Any], origins: Mapping[str, str], registry: Registry
) -> list[str]:
    # Of a section under a name of a component's own resolution knows the kind; and one that holds nothing but
    # tables for names may have been misspelt elsewhere.
    if section not in registry.kinds or not table:
        return []
    where = f"{section}.name" + (f" ({origins[f'{section}.name']})" if f"{section}.name" in origins else "")
    if (wrong := unusable_name(section, table)) is not None:
        return [f"{where}: {wrong}"]
    try:
        registry.find_in(section, table["name"])
    except (UnknownNameError, AmbiguousNameError) as error:
        return [f"{where}: {error}"]
    return []


def _locate(reference: str, registry: Registry) -> tuple[str, Path]:
    bare = reference.removeprefix("recipe/")  # as a message that gives the full reference has it
    if reference.endswith(".toml") or "/" in bare:
        try:
            path = Path(reference).expanduser()
        except RuntimeError as error:  # of a home that nobody has
            raise GraftworkError(f"recipe {reference}: no such file") from error
        return path.stem, path
    try:
        entry = registry.find(f"recipe/{bare}")
    except UnknownNameError:
        if ":" in reference or package_of(Kind.RECIPE, bare):
            raise  # it is registered under another name, or comes with a package that is not here
        known = [registry.name_of(entry) for entry in registry.entries("recipe")]
        listed = f"registered are: {', '.join(known)}" if known else "no installed plugin registers one"
        file = f"{reference}.toml"
        there = f"; the file is {file!r}" if reference and Path(file).is_file() else ""
        raise UnknownNameError(
            f"no recipe called {reference!r}{there or did_you_mean(reference, known)} "
            f"({listed}; a file's name ends in .toml)"
        ) from None
    return entry.component.name, recipe_path(entry)


def recipe_path(entry: Entry) -> Path:
    """The file of a registered recipe, found without importing its package.

    Raises:
        GraftworkError: the package is not installed, or one that it lies in cannot be imported.
    """
    package, _, inner = entry.component.target.partition(":")
    try:
        with plugin_code():  # to find a package within another imports the other
            spec = find_spec(package)
    except Exception as error:
        raise GraftworkError(
            f"{entry.component.reference}: {package!r} of {entry.plugin.label} cannot be imported: "
            f"{cause_of(error)}"
        ) from error
    if spec is None or not spec.submodule_search_locations:
        raise GraftworkError(
            f"{entry.component.reference}: {package!r} of {entry.plugin.label} is no installed package"
        )
    return Path(spec.submodule_search_locations[0], inner)
