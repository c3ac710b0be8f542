"""From a recipe's tables to choices: every option checked against the signature it is for.

Longer than other files: one walk collects the mistakes of all sections, so that none hides another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from graftwork.catalogue import package_of
from graftwork.choice import Choice, Supplies
from graftwork.component import Kind
from graftwork.errors import (
    AmbiguousNameError,
    GraftworkError,
    RecipeError,
    UnknownNameError,
    did_you_mean,
    with_article,
)
from graftwork.misspelt import key_of_name, lacking_section, misspelt_sections, unusable_name
from graftwork.plain_data import plain
from graftwork.plain_text import read
from graftwork.refusal import accepted, refusal
from graftwork.registry import Entry, Registry, get_registry
from graftwork.schema import Option, Schema, schema_of
from graftwork.tables import NO_SOURCE, Tables
from graftwork.toml import dumps, key_text, shown
from graftwork.values import NONE, NotAccepted, is_finite


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
        source: where the recipe stands, for messages.
    """

    name: str
    task: Choice
    trainer: Choice
    sections: Mapping[str, Any]
    stages: tuple[Resolved, ...] = ()
    source: str = NO_SOURCE

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
    """One walk over sections, collecting mistakes.

    What is misspelt is checked as what was plainly meant, so that one mistake hides no other.
    """

    def __init__(self, given: Tables, registry: Registry) -> None:
        self._given = given
        self._registry = registry
        self._mistakes: list[str] = []
        self._sections: dict[str, Mapping[str, Any]] = {}
        # Sections that something looked for, and their kinds.
        self._asked: dict[str, str] = {}
        self._tells_places = False

    def run(self) -> Resolved:
        """Resolve the task and the trainer, and through their parameters every other section.

        Raises:
            RecipeError: all mistakes, a line each.
        """
        self._tells_places = True
        task = self._choose_section("task", Kind.TASK)
        trainer = self._choose_section("trainer", Kind.TRAINER)
        unknown = task is None or trainer is None
        if unknown:  # which sections it takes nobody knows, so each is the kind that it is called
            for section in self._given.sections:
                if section in self._registry.kinds and section not in self._sections:
                    self._choose_section(section, section)
        told, corrected = misspelt_sections(
            self._given, used=self._sections, asked=self._asked, kinds=self._registry.kinds, unknown=unknown
        )
        if corrected is not None:
            # What was lacking for want of that section is not.
            rest = Resolution(corrected, self._registry).error()
            found = (rest.mistakes, rest.choices) if rest else ((), ())
            raise RecipeError(self._given.source, [*told, *found[0]], found[1])
        self._mistakes += told
        if self._mistakes or task is None or trainer is None:
            known = [choice for choice in (task, trainer) if choice is not None]
            raise RecipeError(self._given.source, list(dict.fromkeys(self._mistakes)), known)
        used = [section for section in self._given.sections if section in self._sections]
        ordered = {section: self._sections[section] for section in used}
        return Resolved(self._given.name, task, trainer, ordered, source=self._given.source)

    def error(self) -> RecipeError | None:
        """What :meth:`run` would raise."""
        try:
            self.run()
        except RecipeError as error:
            return error
        return None

    def run_one(self, section: str) -> Choice:
        """Resolve one section, named after its kind."""
        choice = self._choose_section(section, section)
        if self._mistakes or choice is None:
            raise RecipeError(self._given.source, list(dict.fromkeys(self._mistakes)))
        return choice

    def _choose_section(self, section: str, kind: str, taker: _Taker | None = None) -> Choice | None:
        self._asked[section] = kind
        if section not in self._given.sections:
            self._mistakes.append(lacking_section(section))
            return None
        self._sections.setdefault(section, {})
        choice = self._choose(kind, self._given.sections[section], section, taker)
        for name, table in self._given.named.get(section, {}).items():
            self._check_named(section, kind, name, table, choice)
        if choice is not None:
            self._sections[section] = choice.table
        return choice

    def _check_named(
        self, section: str, kind: str, name: str, table: Mapping[str, Any], chosen: Choice | None
    ) -> None:
        """``[section.for.NAME]`` is for a component that there is, or that a package of ours would bring.

        Of one that is not chosen the options are checked too: another call chooses it.
        """
        path = f"{section}.for.{key_text(name)}"
        try:
            entry = self._registry.find_in(kind, name)
        except AmbiguousNameError:
            return
        except UnknownNameError as error:
            if package_of(kind, name.rpartition(":")[2]) is None:
                self._mistake(path, str(error))
            return
        if chosen is not None and chosen.entry is entry:
            return  # they are among its own
        try:
            options = schema_of(self._registry.resolve(entry), self._registry.kinds[kind]).options
        except GraftworkError:  # that it cannot be imported matters where it is chosen
            return
        # Told as they are where it is chosen: a comparison may meet both.
        origins = {f"{section}.{key}": f"[{section}.for.{name}]" for key in table}
        apart = Resolution(replace(self._given, origins=origins, texts={}), self._registry)
        for key in table:
            if key in options:
                apart._value(options[key], table, section, entry)
            else:
                apart._unknown_option(f"{section}.{key_text(key)}", key, entry.component.reference, options)
        self._mistakes += apart._mistakes

    def _entry(self, kind: str, value: Any, path: str) -> Entry | None:
        """The component that a table names, or plainly means."""
        named = {"name": value} if isinstance(value, str) else value
        if not isinstance(named, Mapping):
            self._mistake(
                path, f"expected the name of {with_article(kind)} or a table with name, got {shown(value)}"
            )
            return None
        if (wrong := unusable_name(kind, named)) is not None:
            self._mistake(f"{path}.name", wrong)
        name = named.get(key_of_name(named) or "name")
        if not isinstance(name, str):
            return None
        try:
            return self._registry.find_in(kind, name)
        except GraftworkError as error:
            self._mistake(f"{path}.name", str(error))
            unknown = isinstance(error, UnknownNameError)
            return self._registry.find_meant(kind, name) if unknown else None

    def _choose(
        self, kind_name: str, value: Any, path: str, taker: _Taker | None = None, entry: Entry | None = None
    ) -> Choice | None:
        """Check one component and its options; an entry is what a default names."""
        table = {"name": value} if isinstance(value, str) else value
        entry = entry or self._entry(kind_name, value, path)
        if entry is None:
            return None
        kind = self._registry.kinds[kind_name]
        try:
            target = self._registry.resolve(entry)
            schema = schema_of(target, kind)
        except GraftworkError as error:
            self._mistake(f"{path}.name", str(error))
            return None
        reference = entry.component.reference
        self._check_facts(f"{path}.name", reference, schema, taker)
        named_by = key_of_name(table) or "name"
        given = {key: value for key, value in table.items() if key != named_by}
        supplied = () if taker is None else taker.supplies
        for key in supplied:
            if key in given and key in schema.options:
                self._mistake(f"{path}.{key}", f"{taker and taker.reference} supplies it: leave it out")
        options = {name: option for name, option in schema.options.items() if name not in supplied}
        for key in given:
            if key not in schema.options:
                self._unknown_option(f"{path}.{key_text(key)}", key, reference, options)
        values = {name: self._value(option, given, path, entry) for name, option in options.items()}
        set_values = {name: value for name, value in values.items() if value is not _UNSET}
        of_companion = {name for name in set_values if options[name].of_companion}
        return Choice(
            entry,
            kind,
            target,
            {name: value for name, value in set_values.items() if name not in of_companion},
            {name: set_values[name] for name in set_values if name in of_companion},
            self._table(str(table[named_by]), options, set_values, given),
            schema.groups,
            self._places(path, options, given) if self._tells_places else {},
        )

    def _places(self, path: str, options: Iterable[str], given: Mapping[str, Any]) -> dict[str, str]:
        """Where the recipe says each option, for what a constructor has to say of it."""
        of_source = f" of {self._given.source}" if self._given.source != NO_SOURCE else ""
        places = {"": f"[{self._as_written(path)}]{of_source}"}
        for name in options:
            key = f"{path}.{name}"
            origin = self._given.origins.get(key)
            if origin is None:
                places[name] = self._as_written(key) + (of_source if name in given else "")
            else:
                places[name] = origin if key in origin else f"{key}, {origin}"
        return places

    def _check_facts(self, path: str, reference: str, schema: Schema, taker: _Taker | None) -> None:
        """See that a component takes what its taker supplies, and wants nothing else."""
        if taker is None:
            return
        taken = (*schema.supplied, *schema.may_be_supplied, *schema.options)
        foreign = [fact for fact in taker.supplies if fact not in taken]
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

    def _value(self, option: Option, given: Mapping[str, Any], path: str, taker: Entry) -> Any:
        """What a component gets for one option, or _UNSET for its default."""
        if option.chosen_kind is not None and option.listed:
            return self._several(option, option.chosen_kind, given, path, taker)
        if option.chosen_kind is not None:
            return self._nested(option, option.chosen_kind, given, path, taker)
        key = f"{path}.{option.name}"
        if option.name in given:
            found = given[option.name]
            try:
                value = accepted(found, self._given.texts.get(key), option.annotation)
            except NotAccepted:
                self._mistake(key, refusal(found, option))
                return _UNSET
            if is_finite(value) or not is_finite(option.default):
                return value
            self._mistake(key, f"must be finite, got {shown(found)}")
        elif option.required:
            self._mistake(key, f"is missing; expected {option.type_text}: {option.meaning}")
        return _UNSET

    def _nested(self, option: Option, kind: str, given: Mapping[str, Any], path: str, by: Entry) -> Any:
        taker = None if option.supplies is None else _Taker(by.component.reference, option.supplies)
        self._asked[option.name] = kind
        key = f"{path}.{option.name}"
        if option.name in given:
            value = given[option.name]
            if option.shorthand is None or isinstance(value, Mapping):
                return self._choose(kind, value, key, taker)
            text = value if isinstance(value, str) else self._given.texts.get(key, value)
            table = {option.shorthand.option: text}
            return self._by_default(kind, option.shorthand.component, key, by, taker, table)
        if option.name in self._given.sections:
            return self._choose_section(option.name, kind, taker)
        if isinstance(option.default, str):
            if option.shorthand is None:
                return self._by_default(kind, option.default, key, by, taker)
            table = {option.shorthand.option: option.default}
            return self._by_default(kind, option.shorthand.component, key, by, taker, table)
        if option.required:
            entries = self._registry.entries(kind)
            known = [self._registry.name_of(entry) for entry in entries]
            self._mistakes.append(
                f"[{option.name}]: is missing; [{self._as_written(path)}] needs {with_article(kind)}: "
                f"[{option.name}] with name = {' or '.join(map(repr, known[:4])) or '...'}"
            )
        return _UNSET

    def _by_default(
        self,
        kind: str,
        name: str,
        path: str,
        by: Entry,
        taker: _Taker | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> Choice | None:
        """What the code of a component means by a name, whoever else has it by now."""
        try:
            entry = self._registry.find_default(kind, name, by.plugin.name)
        except GraftworkError as error:
            self._mistake(path, str(error))
            return None
        return self._choose(kind, {"name": self._registry.name_of(entry), **options}, path, taker, entry)

    def _several(self, option: Option, kind: str, given: Mapping[str, Any], path: str, by: Entry) -> Any:
        """The components of a list, in its order."""
        key = f"{path}.{option.name}"
        if option.name not in given:
            names = () if option.required else option.default
            chosen = [
                self._by_default(kind, name, f"{key}.{number}", by)
                for number, name in enumerate(names, start=1)
            ]
            return [choice for choice in chosen if choice is not None]
        values = given[option.name]
        if isinstance(values, str) and (text := self._given.texts.get(key)) is not None:
            with suppress(NotAccepted):
                values = read(text, list[str])
        if not isinstance(values, (list, tuple)):
            self._mistake(key, refusal(values, option))
            return []
        chosen = [
            self._choose(kind, value, f"{key}.{number}") for number, value in enumerate(values, start=1)
        ]
        return [choice for choice in chosen if choice is not None]

    def _unknown_option(self, path: str, key: str, reference: str, options: Mapping[str, Option]) -> None:
        section = path.split(".", 1)[0]
        close = did_you_mean(key, ["name", *options])
        hint = close or f" (its options: {', '.join(options) or 'none'})"
        # The recipe's author wrote it for the name that stood there before the command line changed it.
        if f"{section}.name" in self._given.origins and path not in self._given.origins:
            hint += f"; if it is meant for another {section}, write it under [{section}.for.NAME]"
        self._mistake(path, f"{reference} has no option {shown(key)}{hint}")

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

    def _as_written(self, path: str) -> str:
        section, dot, rest = path.partition(".")
        return f"{key_text(self._given.written.get(section, section))}{dot}{rest}"

    def _mistake(self, path: str, text: str) -> None:
        origin = self._given.origins.get(path)
        self._mistakes.append(f"{self._as_written(path)}{f' ({origin})' if origin else ''}: {text}")


@dataclass(frozen=True, slots=True)
class _Taker:
    """Who takes a component, and what it then gives it."""

    reference: str
    supplies: Supplies


_UNSET: Any = object()
