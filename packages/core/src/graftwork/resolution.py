"""From a recipe's tables to choices: every option checked against the signature it is for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from graftwork.choice import Choice
from graftwork.component import Kind
from graftwork.errors import GraftworkError, RecipeError, did_you_mean
from graftwork.recipe import Recipe
from graftwork.registry import Registry, get_registry
from graftwork.schema import INLINE, NONE, NotAccepted, Option, check, options_of, unwrap
from graftwork.toml import dumps


@dataclass(frozen=True, slots=True)
class Resolved:
    """A checked recipe, ready to be built.

    Args:
        recipe: what it came from.
        task: build with no arguments.
        trainer: build with no arguments.
        sections: every section with every option, defaults too, as plain TOML data.
    """

    recipe: Recipe
    task: Choice
    trainer: Choice
    sections: Mapping[str, Mapping[str, Any]]

    def to_toml(self) -> str:
        """The recipe with nothing left to defaults."""
        return dumps(self.sections)


def choose(
    kind: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> Choice:
    """Look a component up and check options for it, where there is no recipe.

    Args:
        kind: its kind, "optimizer" for instance.
        name: ``name``, ``plugin:name`` or ``kind/plugin:name``.
        options: for the component and its companion, as a recipe would give them.
        defaults: for those of its options that ``options`` leaves open; what it does not have is passed over.
        registry: the installed plugins unless given.

    Raises:
        GraftworkError: the name is unknown or claimed twice, or its target cannot be imported.
        RecipeError: every wrong option, a line each.

    >>> choose("optimizer", "adamw", {"lr": 0.5}, defaults={"lr": 0.1, "eps": 1e-9, "level": 2}).options
    {'lr': 0.5, 'eps': 1e-09}
    """
    registry = registry or get_registry()
    entry = registry.find_in(kind, name)
    known = options_with_inlined(registry.resolve(entry), registry.kinds[kind], registry)
    open_defaults = {key: value for key, value in (defaults or {}).items() if key in known}
    table = {**open_defaults, **(options or {}), "name": name}
    return Resolution(Recipe(name, entry.component.reference, {kind: table}), registry).run_one(kind)


class Resolution:
    """One walk over a recipe, collecting mistakes."""

    def __init__(self, recipe: Recipe, registry: Registry) -> None:
        self._recipe = recipe
        self._registry = registry
        self._mistakes: list[str] = []
        self._sections: dict[str, Mapping[str, Any]] = {}

    def run(self) -> Resolved:
        """Resolve the task and the trainer, and through their parameters every other section."""
        task = self._choose_section("task", Kind.TASK)
        trainer = self._choose_section("trainer", Kind.TRAINER)
        for section in self._recipe.sections:
            if section not in self._sections:
                known = [*self._sections, *self._registry.kinds]
                self._mistakes.append(
                    f"[{section}]: nothing in this recipe uses it{did_you_mean(section, known)}; used are "
                    f"{', '.join(f'[{name}]' for name in self._sections)}"
                )
        if self._mistakes or task is None or trainer is None:
            raise RecipeError(self._recipe.source, list(dict.fromkeys(self._mistakes)))
        ordered = {section: self._sections[section] for section in self._recipe.sections}
        return Resolved(self._recipe, task, trainer, ordered)

    def run_one(self, section: str) -> Choice:
        """Resolve one section, named after its kind."""
        choice = self._choose_section(section, section)
        if self._mistakes or choice is None:
            raise RecipeError(self._recipe.source, list(dict.fromkeys(self._mistakes)))
        return choice

    def _choose_section(self, section: str, kind: str) -> Choice | None:
        self._sections.setdefault(section, {})
        choice = self._choose(kind, self._recipe.sections[section], section)
        if choice is not None:
            self._sections[section] = choice.table
        return choice

    def _choose(self, kind_name: str, value: Any, path: str) -> Choice | None:
        table = {"name": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
            self._mistake(path, f"expected the name of a {kind_name} or a table with name, got {value!r}")
            return None
        try:
            entry = self._registry.find_in(kind_name, table["name"])
            target = self._registry.resolve(entry)
        except GraftworkError as error:
            self._mistake(f"{path}.name", str(error))
            return None
        kind = self._registry.kinds[kind_name]
        options = options_of(target, kind)
        given = {key: value for key, value in table.items() if key != "name"}
        try:
            known = options_with_inlined(target, kind, self._registry)
        except GraftworkError as error:
            self._mistake(path, f"{entry.component.reference}: {error}")
            return None
        for key in given:
            if key not in known:
                self._unknown_option(f"{path}.{key}", key, entry.component.reference, known)
        for_inlined = {key: value for key, value in given.items() if key not in options}
        values = {
            name: self._value(option, for_inlined if is_inlined(option) else given, path)
            for name, option in options.items()
        }
        set_values = {name: value for name, value in values.items() if value is not _UNSET}
        return Choice(
            entry,
            kind,
            target,
            {name: value for name, value in set_values.items() if not options[name].of_companion},
            {name: value for name, value in set_values.items() if options[name].of_companion},
            self._table(table["name"], options, set_values, given),
        )

    def _value(self, option: Option, given: Mapping[str, Any], path: str) -> Any:
        """What a component gets for one option, or _UNSET for its default."""
        kind = choice_kind(option)
        if kind is not None and is_inlined(option):
            theirs = options_with_inlined(*self._target_of(kind, option.default), self._registry)
            table = {"name": option.default, **{key: given[key] for key in given if key in theirs}}
            inner = self._choose(kind, table, path)
            return None if inner is None else replace(inner, inlined=True)
        if kind is not None:
            return self._nested(option, kind, given, path)
        if option.name in given:
            try:
                return check(given[option.name], option.annotation)
            except NotAccepted:
                found = given[option.name]
                self._mistake(
                    f"{path}.{option.name}",
                    f"expected {option.type_text}, got {found!r} ({_toml_type(found)})",
                )
        elif option.required:
            self._mistake(
                f"{path}.{option.name}", f"is missing; expected {option.type_text}: {option.meaning}"
            )
        return _UNSET

    def _target_of(self, kind: str, name: str) -> tuple[Any, Kind]:
        return self._registry.resolve(self._registry.find_in(kind, name)), self._registry.kinds[kind]

    def _nested(self, option: Option, kind: str, given: Mapping[str, Any], path: str) -> Any:
        if option.name in given:
            return self._choose(kind, given[option.name], f"{path}.{option.name}")
        if option.name in self._recipe.sections:
            return self._choose_section(option.name, kind)
        if isinstance(option.default, str):
            return self._choose(kind, option.default, f"{path}.{option.name}")
        if option.required:
            known = [entry.component.name for entry in self._registry.entries(kind)]
            self._mistakes.append(
                f"[{option.name}]: is missing; [{path}] needs a {kind}: [{option.name}] with name = "
                f"{' or '.join(map(repr, known[:4])) or '...'}"
            )
        return _UNSET

    def _unknown_option(self, path: str, key: str, reference: str, options: Mapping[str, Option]) -> None:
        section = path.split(".", 1)[0]
        close = did_you_mean(key, ["name", *options])
        hint = close or f" (its options: {', '.join(options) or 'none'})"
        # The recipe's author wrote it for the name that stood there before the command line changed it.
        if f"{section}.name" in self._recipe.origins and path not in self._recipe.origins:
            hint += f"; if it is meant for another {section}, write it under [{section}.for.NAME]"
        self._mistake(path, f"{reference} has no option {key!r}{hint}")

    def _table(
        self, name: str, options: Mapping[str, Option], values: Mapping[str, Any], given: Mapping[str, Any]
    ) -> dict[str, Any]:
        table: dict[str, Any] = {"name": name}
        for key, option in options.items():
            if choice_kind(option) is not None and key in self._recipe.sections and key not in given:
                continue
            value = values.get(key, None if option.required else option.default)
            if is_inlined(option):
                inner_table = value.table if isinstance(value, Choice) else {}
                table |= {inner: one for inner, one in inner_table.items() if inner not in {*options, "name"}}
                continue
            if value is None and not option.required and option.default is not None:
                table[key] = NONE  # left out, it would come back as the default
            elif _plain(value) is not None:
                table[key] = _plain(value)
        return table

    def _mistake(self, path: str, text: str) -> None:
        origin = self._recipe.origins.get(path)
        self._mistakes.append(f"{path}{f' ({origin})' if origin else ''}: {text}")


_UNSET: Any = object()


def choice_kind(option: Option) -> str | None:
    """The kind of component that an option refers to, or None where it is a plain value."""
    annotation, metadata = unwrap(option.annotation)
    if annotation is Choice or Choice in get_args(annotation):
        return metadata[0] if metadata else option.name
    return None


def is_inlined(option: Option) -> bool:
    """Whether the options of the component that this option names stand in the same table as itself."""
    return INLINE in unwrap(option.annotation)[1]


def options_with_inlined(target: Any, kind: Kind, registry: Registry) -> dict[str, Option]:
    """Read what a recipe may set for a target, the options of inlined components included.

    A parameter ``loop: Annotated[Choice, "training-loop", INLINE] = "standard"`` gives its component every
    option of ``training-loop/standard`` in its own table. The component's own options go before.

    Args:
        target: a class or function.
        kind: its kind.
        registry: where inlined components are looked up.

    Raises:
        GraftworkError: an inlined component is not installed.
    """
    options: dict[str, Option] = {}
    inlined: dict[str, Option] = {}
    for name, option in options_of(target, kind).items():
        if not is_inlined(option):
            options[name] = option
            continue
        inner_kind = choice_kind(option) or name
        inner = registry.resolve(registry.find_in(inner_kind, option.default))
        inlined |= options_with_inlined(inner, registry.kinds[inner_kind], registry)
    return options | {name: option for name, option in inlined.items() if name not in options}


def _plain(value: Any) -> Any:
    """A value as TOML can hold it; None for what it cannot (None itself, a tensor)."""
    if isinstance(value, Choice):
        return dict(value.table)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        return None if None in items else items
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if _plain(item) is not None}
    return value if isinstance(value, (bool, int, float, str)) else None


def _toml_type(value: Any) -> str:
    names = {bool: "boolean", int: "whole number", float: "float", str: "string", list: "list", dict: "table"}
    return names.get(type(value), type(value).__name__)
