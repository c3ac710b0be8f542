"""From a recipe's tables to choices: every option checked against the signature it is for."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graftwork.choice import Choice, Supplies
from graftwork.component import Kind
from graftwork.errors import GraftworkError, RecipeError, did_you_mean, with_article
from graftwork.registry import Registry, get_registry
from graftwork.schema import Option, Schema, schema_of
from graftwork.toml import dumps
from graftwork.values import NONE, NotAccepted, check


@dataclass(frozen=True, slots=True)
class Tables:
    """What is to be resolved.

    Args:
        name: of the recipe.
        source: where it stands, for messages.
        sections: section to table; each table has a ``name``.
        origins: dotted key to where it was said, where that is not the source.
        shared: sections that may be left unused.
    """

    name: str
    source: str
    sections: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Resolved:
    """A checked recipe, ready to be built.

    Args:
        name: of the recipe.
        task: build with no arguments; the last stage's where there are stages.
        trainer: build with no arguments; the last stage's where there are stages.
        sections: every section with every option, defaults too, as plain TOML data; of a recipe with stages,
            ``stages`` alone: a list of their names and sections.
        stages: each by itself, in order; none where there is one training.
    """

    name: str
    task: Choice
    trainer: Choice
    sections: Mapping[str, Any]
    stages: tuple[Resolved, ...] = ()

    def to_toml(self) -> str:
        """The recipe with nothing left to defaults."""
        return dumps(self.sections)

    def choices(self) -> Iterator[Choice]:
        """Every component that takes part, each before those that it takes."""
        for part in self.stages or (self,):
            for choice in (part.task, part.trainer):
                yield from choice.with_inner()


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
    known = schema_of(registry.resolve(entry), registry.kinds[kind]).options
    open_defaults = {key: value for key, value in (defaults or {}).items() if key in known}
    table = {**open_defaults, **(options or {}), "name": name}
    return Resolution(Tables(name, entry.component.reference, {kind: table}), registry).run_one(kind)


class Resolution:
    """One walk over sections, collecting mistakes."""

    def __init__(self, given: Tables, registry: Registry) -> None:
        self._given = given
        self._registry = registry
        self._mistakes: list[str] = []
        self._sections: dict[str, Mapping[str, Any]] = {}

    def run(self) -> Resolved:
        """Resolve the task and the trainer, and through their parameters every other section."""
        task = self._choose_section("task", Kind.TASK)
        trainer = self._choose_section("trainer", Kind.TRAINER)
        # Of one that did not load nobody knows which sections it uses.
        for section in self._given.sections if task and trainer else ():
            if section not in self._sections and section not in self._given.shared:
                known = {*self._sections, *self._registry.kinds} - {section}
                self._mistakes.append(
                    f"[{section}]: nothing in this recipe uses it{did_you_mean(section, known)}; used are "
                    f"{', '.join(f'[{name}]' for name in self._sections)}"
                )
        if self._mistakes or task is None or trainer is None:
            raise RecipeError(self._given.source, list(dict.fromkeys(self._mistakes)))
        used = [section for section in self._given.sections if section in self._sections]
        ordered = {section: self._sections[section] for section in used}
        return Resolved(self._given.name, task, trainer, ordered)

    def run_one(self, section: str) -> Choice:
        """Resolve one section, named after its kind."""
        choice = self._choose_section(section, section)
        if self._mistakes or choice is None:
            raise RecipeError(self._given.source, list(dict.fromkeys(self._mistakes)))
        return choice

    def _choose_section(self, section: str, kind: str, taker: _Taker | None = None) -> Choice | None:
        self._sections.setdefault(section, {})
        choice = self._choose(kind, self._given.sections[section], section, taker)
        if choice is not None:
            self._sections[section] = choice.table
        return choice

    def _choose(self, kind_name: str, value: Any, path: str, taker: _Taker | None = None) -> Choice | None:
        table = {"name": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
            self._mistake(path, f"expected the name of a {kind_name} or a table with name, got {value!r}")
            return None
        kind = self._registry.kinds[kind_name]
        try:
            entry = self._registry.find_in(kind_name, table["name"])
            target = self._registry.resolve(entry)
            schema = schema_of(target, kind)
        except GraftworkError as error:
            self._mistake(f"{path}.name", str(error))
            return None
        reference = entry.component.reference
        self._check_facts(f"{path}.name", reference, schema, taker)
        given = {key: value for key, value in table.items() if key != "name"}
        supplied = () if taker is None else taker.supplies
        for key in supplied:
            if key in given and key in schema.options:
                self._mistake(f"{path}.{key}", f"{taker and taker.reference} supplies it: leave it out")
        options = {name: option for name, option in schema.options.items() if name not in supplied}
        for key in given:
            if key not in schema.options:
                self._unknown_option(f"{path}.{key}", key, reference, options)
        values = {name: self._value(option, given, path, reference) for name, option in options.items()}
        set_values = {name: value for name, value in values.items() if value is not _UNSET}
        of_companion = {name for name in set_values if options[name].of_companion}
        return Choice(
            entry,
            kind,
            target,
            {name: value for name, value in set_values.items() if name not in of_companion},
            {name: set_values[name] for name in set_values if name in of_companion},
            self._table(table["name"], options, set_values, given),
            schema.groups,
        )

    def _check_facts(self, path: str, reference: str, schema: Schema, taker: _Taker | None) -> None:
        """See that a component takes what its taker supplies, and wants nothing else."""
        if taker is None:
            return
        foreign = [fact for fact in taker.supplies if fact not in (*schema.supplied, *schema.options)]
        wanted = [fact for fact in schema.supplied if fact not in taker.supplies]
        if foreign and not schema.takes_anything:
            wants = f"; it wants {' and '.join(schema.supplied)}" if schema.supplied else ""
            self._mistake(
                path,
                f"{reference} takes no {' and no '.join(foreign)}, which {taker.reference} supplies{wants}",
            )
        elif wanted:
            self._mistake(
                path, f"{reference} wants {' and '.join(wanted)}, which {taker.reference} does not supply"
            )

    def _value(self, option: Option, given: Mapping[str, Any], path: str, reference: str) -> Any:
        """What a component gets for one option, or _UNSET for its default."""
        if option.chosen_kind is not None and option.listed:
            return self._several(option, option.chosen_kind, given, path)
        if option.chosen_kind is not None:
            taker = None if option.supplies is None else _Taker(reference, option.supplies)
            return self._nested(option, option.chosen_kind, given, path, taker)
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

    def _nested(
        self, option: Option, kind: str, given: Mapping[str, Any], path: str, taker: _Taker | None
    ) -> Any:
        if option.name in given:
            return self._choose(kind, given[option.name], f"{path}.{option.name}", taker)
        if option.name in self._given.sections:
            return self._choose_section(option.name, kind, taker)
        if isinstance(option.default, str):
            return self._choose(kind, option.default, f"{path}.{option.name}", taker)
        if option.required:
            known = [entry.component.name for entry in self._registry.entries(kind)]
            self._mistakes.append(
                f"[{option.name}]: is missing; [{path}] needs {with_article(kind)}: [{option.name}] with "
                f"name = {' or '.join(map(repr, known[:4])) or '...'}"
            )
        return _UNSET

    def _several(self, option: Option, kind: str, given: Mapping[str, Any], path: str) -> Any:
        """The components of a list, in its order."""
        values = given.get(option.name, () if option.required else option.default)
        if not isinstance(values, (list, tuple)):
            self._mistake(f"{path}.{option.name}", f"expected {option.type_text}, got {values!r}")
            return []
        chosen = [
            self._choose(kind, value, f"{path}.{option.name}.{number}")
            for number, value in enumerate(values, start=1)
        ]
        return [choice for choice in chosen if choice is not None]

    def _unknown_option(self, path: str, key: str, reference: str, options: Mapping[str, Option]) -> None:
        section = path.split(".", 1)[0]
        close = did_you_mean(key, ["name", *options])
        hint = close or f" (its options: {', '.join(options) or 'none'})"
        # The recipe's author wrote it for the name that stood there before the command line changed it.
        if f"{section}.name" in self._given.origins and path not in self._given.origins:
            hint += f"; if it is meant for another {section}, write it under [{section}.for.NAME]"
        self._mistake(path, f"{reference} has no option {key!r}{hint}")

    def _table(
        self, name: str, options: Mapping[str, Option], values: Mapping[str, Any], given: Mapping[str, Any]
    ) -> dict[str, Any]:
        table: dict[str, Any] = {"name": name}
        for key, option in options.items():
            if option.chosen_kind is not None and key in self._given.sections and key not in given:
                continue
            value = values.get(key, None if option.required else option.default)
            if option.chosen_kind is not None and option.listed:
                # One that has no options of its own is told by its name.
                value = [dict(one.table) if len(one.table) > 1 else one.table["name"] for one in value or ()]
            if value is None and not option.required and option.default is not None:
                table[key] = NONE  # left out, it would come back as the default
            elif plain(value) is not None:
                table[key] = plain(value)
        return table

    def _mistake(self, path: str, text: str) -> None:
        origin = self._given.origins.get(path)
        self._mistakes.append(f"{path}{f' ({origin})' if origin else ''}: {text}")


@dataclass(frozen=True, slots=True)
class _Taker:
    """Who takes a component, and what it then gives it."""

    reference: str
    supplies: Supplies


_UNSET: Any = object()


def plain(value: Any) -> Any:
    """Return a value as TOML can hold it; None for what it cannot (None itself, a tensor)."""
    if isinstance(value, Choice):
        return dict(value.table)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [_plain_inside(item) for item in value]
        return None if None in items else items
    if isinstance(value, Mapping):
        table = {str(key): _plain_inside(item) for key, item in value.items()}
        return None if None in table.values() else table
    return value if isinstance(value, (bool, int, float, str)) else None


def _plain_inside(value: Any) -> Any:
    """The same inside a list or table, where nothing can be left out."""
    return NONE if value is None else plain(value)


def _toml_type(value: Any) -> str:
    names = {bool: "boolean", int: "whole number", float: "float", str: "string", list: "list", dict: "table"}
    return names.get(type(value), type(value).__name__)
