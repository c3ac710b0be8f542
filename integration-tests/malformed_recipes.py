"""Recipes that are wrong in one place each: mutations times tables times the ways of saying it.

They are made of every registered recipe, so that those of a package that comes later are among them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graftwork.toml import dumps, dumps_value

INF, NAN = float("inf"), float("nan")
Sections = dict[str, dict[str, Any]]
Types = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Malformed:
    """One wrong recipe.

    Args:
        what: is wrong, for a test's name.
        text: of the file.
        settings: ``--set`` of the command line.
        names: what the answer must name.
    """

    what: str
    text: str
    settings: Sequence[str]
    names: Sequence[str]


# What stands in place of a value, and the types of options, in words, that do not take it.
_WHOLE, _FLOAT, _SWITCH, _TEXT = "whole number", "float", "true or false", "string"
_NOT_FOR: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "text": ("sevenfold", (_WHOLE, _FLOAT, _SWITCH)),
    "nan": (NAN, (_WHOLE, _FLOAT)),
    "infinity": (INF, (_WHOLE, _FLOAT)),
    "minus infinity": (-INF, (_FLOAT,)),
    "a fraction": (1.5, (_WHOLE,)),
    "true": (True, (_WHOLE, _FLOAT)),
    "a number": (12, (_SWITCH,)),
    "99 digits": (10**98, (_WHOLE,)),
    "999 digits": (10**998, (_FLOAT,)),
    "a list": ([1, [2]], (_WHOLE, _FLOAT, _SWITCH, _TEXT)),
    "a table": ({"a": {"b": 1}}, (_WHOLE, _FLOAT, _SWITCH, _TEXT)),
    "tables": ([{"a": 1}, {"a": 2}], (_WHOLE, _FLOAT, _SWITCH, _TEXT)),
}


def of_recipe(text: str, sections: Sections, types: Types) -> Iterator[Malformed]:
    """Everything that is wrong with one recipe.

    Args:
        text: of its file.
        sections: resolved, with every option.
        types: section to options to their types in words.
    """
    yield from _files(text)
    for section in [section for section in sections if f"[{section}]" in text]:
        yield from _structures(section, text)
        yield from _options(section, sections, types[section])


def _files(text: str) -> Iterator[Malformed]:
    """What no table is to blame for."""
    whole = {
        "empty": ("", "[task]"),
        "prose alone": ('description = "x"\n', "[task]"),
        "description": (f"description = 3\n{text.replace('description', '# ')}", "description"),
        "compare": (f"compare = 3\n{text.replace('compare =', '# ')}", "compare"),
        "stages": (f"stages = 3\n{text}", "stages"),
        "a key twice": (f"{text}\n[task]\n", "TOML"),
        "clashing keys": (f"a.b = 1\na.b.c = 2\n{text}", "TOML"),
        "an open quote": (f'x = "y\n{text}', "TOML"),
        "NUL": (f"{text}\0", "TOML"),
        "deep lists": (f"x = {'[' * 3000}{']' * 3000}\n{text}", "deep"),
        "deep tables": (f"{text}\n[{'.'.join(['deep'] * 900)}]\n", "deep"),
        "an empty key": (f'"" = 1\n{text}', '""'),
        "an empty heading": (f'{text}\n[""]\nname = "x"\n', '""'),
        "a date": (f"when = 2024-01-01\n{text}", "when"),
        "digits without end": (f"x = {'9' * 5000}\n{text}", "TOML"),
    }
    for what, (wrong, name) in whole.items():
        yield Malformed(what, wrong, (), (name,))


def _structures(section: str, text: str) -> Iterator[Malformed]:
    """The table itself."""
    heading, rest = f"[{section}]", text.partition(f"\n[{section}]")
    misspelt = section[:-1] + "q" + section[-1]
    yield Malformed(f"{section} misspelt", text.replace(heading, f"[{misspelt}]"), (), (misspelt,))
    yield Malformed(f"{section} as tables", text.replace(heading, f"[{heading}]"), (), (section,))
    for what, value in {"number": "3", "text": '"x"', "list": "[1]", "date": "2024-01-01"}.items():
        renamed = f"{rest[0]}\n[{section}-before]{rest[2]}".replace(f"[{section}.", f"[{section}-before.")
        yield Malformed(f"{section} is a {what}", f"{section} = {value}\n{renamed}", (), (section,))
    named = next(line for line in rest[2].splitlines() if line.startswith("name"))
    for what, line in {
        "unknown": 'name = "zebra"',
        "empty": 'name = ""',
        "of nobody": 'name = "nobody:zebra"',
        "a number": "name = 3",
        "a table": 'name = {name = "x"}',
        "misspelt": f"nmae{named.removeprefix('name')}",
        "in another case": named.upper().replace("NAME", "name"),
    }.items():
        head, _, tail = rest[2].partition(named)
        yield Malformed(
            f"name of {section} {what}", f"{rest[0]}\n{heading}{head}{line}{tail}", (), (f"{section}.name",)
        )
    yield Malformed(
        f"--set {section}.name", text, (f"{section}.name=zebra",), (f"--set {section}.name=zebra",)
    )
    yield Malformed(f"for in {section}", f"{text}\n[{section}.for.zebra]\n", (), (f"{section}.for.zebra",))
    yield Malformed(
        f"for of {section} is a value", f"{text}\n[{section}.for]\nx = 1\n", (), (f"{section}.for",)
    )


def _options(section: str, sections: Sections, types: Mapping[str, str]) -> Iterator[Malformed]:
    """The options of a table, in the file and on the command line."""
    yield _said(section, "zebra", 1, sections, "unknown")
    yield Malformed(f"--set {section}.zebra", dumps(sections), (f"{section}.zebra=1",), (f"{section}.zebra",))
    for what, (value, refusing) in _NOT_FOR.items():
        # One option of each type: the check is of the type.
        for of in refusing:
            key = next((key for key, words in types.items() if words in (of, f"{of} or none")), None)
            if key is None:
                continue
            yield _said(section, key, value, sections, what)
            if not isinstance(value, list | dict):
                setting = f"{section}.{key}={dumps_value(value)}"
                yield Malformed(f"--set {key} {what}", dumps(sections), (setting,), (f"{section}.{key}",))


def _said(section: str, key: str, value: Any, sections: Sections, what: str) -> Malformed:
    changed = copy.deepcopy(sections)
    changed[section][key] = value
    return Malformed(f"{section}.{key} is {what}", dumps(changed), (), (f"{section}.{key}",))
