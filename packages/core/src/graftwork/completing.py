"""What may stand where the cursor is: the words so far in, candidates out; imports no target."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from graftwork.cli import PLUGIN, Parser, all_commands, imported
from graftwork.component import Kind
from graftwork.description import described_before
from graftwork.errors import GraftworkError
from graftwork.recipe import Recipe, load_recipe
from graftwork.recipe_options import Part, parts_of
from graftwork.registry import Registry

_CHOICE = re.compile(r"'([^']*)'")


def candidates(words: Sequence[str], registry: Registry) -> list[str]:
    """Whole words that the last one may become; none where it is a file, or nothing is known.

    Args:
        words: of the command line behind ``graftwork``, up to the cursor.
        registry: the plugins.
    """
    *before, current = words or [""]
    while before and before[0] == PLUGIN:
        if len(before) == 1:
            return []
        del before[:2]
    commands = all_commands(registry)
    if not before:
        return _beginning(current, [*commands, PLUGIN, "--help", "--version"])
    if before[0] not in commands:
        return []
    parser = Parser(add_help=True)
    try:
        imported(commands[before[0]]).configure(parser)
        return _of_command(parser, before[1:], current, registry)
    except GraftworkError:
        return []


def _of_command(
    parser: argparse.ArgumentParser, before: Sequence[str], current: str, registry: Registry
) -> list[str]:
    actions = parser._actions
    options = {name: action for action in actions for name in action.option_strings}
    positional = [action for action in actions if not action.option_strings]
    given: list[str] = []
    awaited: argparse.Action | None = None
    for word in before:
        if awaited is not None:
            awaited = None
        elif word in options:
            awaited = options[word] if options[word].nargs != 0 else None
        elif not word.startswith("-"):
            given.append(word)
    if awaited is None and current.startswith("-"):
        option, equals, value = current.partition("=")
        if not equals:
            return _beginning(current, options)
        values = _values(options[option], value, positional, given, registry) if option in options else []
        return [f"{option}={found}" for found in values]
    if awaited is None:
        if not positional:
            return []
        awaited = positional[min(len(given), len(positional) - 1)]
    return _values(awaited, current, positional, given, registry)


def _values(
    action: argparse.Action,
    current: str,
    positional: Sequence[argparse.Action],
    given: Sequence[str],
    registry: Registry,
) -> list[str]:
    """Of one argument, which says by its name for people what it is."""
    if action.choices is not None:
        return _beginning(current, map(str, action.choices))
    if action.metavar == "RECIPE":
        names = [entry.component.name for entry in registry.entries(Kind.RECIPE)]
        return _beginning(current, chain(names, (path.name for path in Path().glob("*.toml"))))
    if action.metavar == "REFERENCE":
        return _references(current, registry)
    if action.metavar == "KIND|WORD":
        return _beginning(current, registry.kinds)
    if str(action.metavar).startswith("KEY="):
        recipe = next(
            (word for one, word in zip(positional, given, strict=False) if one.dest == "recipe"), ""
        )
        return _keys(current, load_recipe(recipe, registry=registry), registry) if recipe else []
    return []


def _references(current: str, registry: Registry) -> list[str]:
    if "/" in current:
        return _beginning(current, (entry.component.reference for entry in registry.entries()))
    kinds = {entry.component.kind for entry in registry.entries()}
    names = (entry.component.name for entry in registry.entries())
    return _beginning(current, chain((f"{kind}/" for kind in kinds), names))


def _keys(current: str, recipe: Recipe, registry: Registry) -> list[str]:
    """``optimizer.lr=``, and what may stand behind it where that is one of a few."""
    key, equals, value = current.partition("=")
    parts = [
        part for stage in recipe.stages or (recipe,) for part in parts_of(stage, registry, described_before)
    ]
    if not equals:
        return _beginning(current, chain.from_iterable(map(_keys_of, parts)))
    before, comma, last = value.rpartition(",")
    return [
        f"{key}={before}{comma}{found}"
        for found in _beginning(last, chain.from_iterable(_values_of(key, part, registry) for part in parts))
    ]


def _keys_of(part: Part) -> Iterator[str]:
    names = dict.fromkeys(["name", *part.table, *(option.name for option in part.options)])
    return (f"{part.path}.{name}=" for name in names)


def _values_of(key: str, part: Part, registry: Registry) -> Iterator[str]:
    path, _, name = key.rpartition(".")
    if path != part.path:
        return
    kind = part.entry.component.kind if name == "name" else None
    for option in part.options:
        if option.name == name:
            kind = option.shorthand[1] if option.shorthand else option.kind
            yield from _CHOICE.findall(option.type_text)
            yield from ("true", "false") if option.type_text.startswith("true or false") else ()
    if kind in registry.kinds:
        yield from (entry.component.name for entry in registry.entries(kind))


def _beginning(current: str, known: Iterable[str]) -> list[str]:
    return sorted({word for word in known if word.startswith(current)})
