"""Every option that a recipe may set, with what it sets: told without importing what the cache knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graftwork.description import DescribedOption, Description, describe
from graftwork.errors import GraftworkError
from graftwork.recipe import Recipe
from graftwork.registry import Entry, Registry
from graftwork.terminal import wrap
from graftwork.toml import dumps_value


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a recipe.

    Args:
        path: of its table, ``optimizer`` or ``task.model`` for instance.
        entry: what was chosen.
        table: what the recipe gives; empty where it leaves the choice to the default.
        options: that it may give.
        problem: why those are not known, one sentence.
    """

    path: str
    entry: Entry
    table: Mapping[str, Any]
    options: tuple[DescribedOption, ...]
    problem: str = ""


Describe = Callable[[Entry, Registry], Description | None]


def parts_of(recipe: Recipe, registry: Registry, tell: Describe = describe) -> list[Part]:
    """The components of a recipe without stages, or of one stage, in the order of its sections.

    Args:
        recipe: read.
        registry: the plugins.
        tell: describes a component; None where it cannot.

    Raises:
        RecipeError: it sets what is no option, or lacks what is required.
    """
    walk = _Walk(recipe, registry, tell)
    for section in ("task", "trainer"):
        walk.section(section, section)
    if walk.unknown:  # what takes the others cannot be asked
        for section in recipe.sections:
            if section in registry.kinds:
                walk.section(section, section)
    if walk.wrong:
        recipe.resolve(registry)  # says what is wrong
    order = list(recipe.sections)
    return sorted(walk.parts, key=lambda part: order.index(part.path.partition(".")[0]))


@dataclass
class _Walk:
    recipe: Recipe
    registry: Registry
    tell: Describe
    parts: list[Part] = field(default_factory=list)
    wrong: bool = False
    unknown: bool = False

    def section(self, section: str, kind: str, supplied: tuple[str, ...] = ()) -> None:
        if all(part.path != section for part in self.parts):
            self.component(section, kind, self.recipe.sections[section], supplied)

    def component(self, path: str, kind: str, given: Any, supplied: tuple[str, ...]) -> None:
        table = {"name": given} if isinstance(given, str) else given
        if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
            self.wrong = True
            return
        try:
            entry = self.registry.find_in(kind, table["name"])
        except GraftworkError:
            self.wrong = True
            return
        self.entry(path, entry, table, supplied)

    def entry(self, path: str, entry: Entry, table: Mapping[str, Any], supplied: tuple[str, ...]) -> None:
        problem, described = "", None
        try:
            described = self.tell(entry, self.registry)
        except GraftworkError as error:
            problem = str(error)
        known = described.options if described else ()
        options = tuple(option for option in known if option.name not in supplied)
        self.parts.append(Part(path, entry, table, options, problem))
        if described is None:
            self.unknown = True
            return
        names = {"name", *(option.name for option in options)}
        self.wrong |= any(key not in names for key in table)
        for option in options:
            if option.kind is not None:
                self.chosen(path, option, table, entry.plugin.name)
            else:
                self.wrong |= option.required and option.name not in table

    def chosen(self, path: str, option: DescribedOption, table: Mapping[str, Any], plugin: str) -> None:
        """The component that an option names."""
        kind, supplied = option.kind or "", option.supplies or ()
        inner = f"{path}.{option.name}"
        text = table.get(option.name, None if option.name in self.recipe.sections else option.default)
        if option.shorthand is not None and isinstance(text, str):
            component, key = option.shorthand
            self.default(inner, kind, component, plugin, {key: text}, supplied)
        elif option.name in table:
            self.component(inner, kind, table[option.name], supplied)
        elif option.name in self.recipe.sections:
            self.section(option.name, kind, supplied)
        elif isinstance(option.default, str):
            self.default(inner, kind, option.default, plugin, {}, supplied)
        else:
            self.wrong |= option.required

    def default(
        self,
        path: str,
        kind: str,
        name: str,
        plugin: str,
        table: Mapping[str, Any],
        supplied: tuple[str, ...],
    ) -> None:
        """What the code of a plugin means by a name."""
        try:
            entry = self.registry.find_default(kind, name, plugin)
        except GraftworkError:
            self.wrong = True
        else:
            self.entry(path, entry, table, supplied)


def recipe_lines(recipe: Recipe, registry: Registry) -> Iterator[str]:
    """Section by section, every option: name, what the recipe gives, type, default, meaning."""
    about = "`key = value` is what the recipe gives, a key without a value has its default."
    yield wrap(about, "  ")
    told: dict[str, list[Part]] = {}
    for stage in recipe.stages or (recipe,):
        parts = parts_of(stage, registry)
        if recipe.stages:
            yield ""
            yield f"  stage {stage.name!r}"
        for part in parts:
            as_in = next((name for name, before in told.items() if part in before), None)
            if as_in is not None:
                yield wrap(f"as in stage {as_in!r}", " " * 8, f"  [{part.path}]  ")
            elif part.options or part.problem or "." not in part.path:
                yield ""
                yield from _part_lines(part, stage)
        told[stage.name] = parts


def _part_lines(part: Part, of: Recipe) -> Iterator[str]:
    component = part.entry.component
    yield wrap(f"{component.reference}: {component.summary}", " " * 4, f"  [{part.path}]  ")
    if part.problem:
        yield wrap(part.problem, " " * 4)
    for option in part.options:
        given = f" = {dumps_value(part.table[option.name])}" if option.name in part.table else ""
        if option.kind and option.name in of.sections and not given:
            continue  # it has a section of its own
        default = "" if option.required else f", default {option.default_text}"
        yield wrap(f"{option.name}{given}  {option.type_text}{default}", " " * 8, "    ")
        if option.meaning:
            yield wrap(option.meaning, " " * 8)
