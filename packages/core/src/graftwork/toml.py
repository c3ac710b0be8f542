"""Writing TOML, which the standard library only reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Of a value in a message.
_LONGEST = 60


def dumps(document: Mapping[str, Any]) -> str:
    """Write a document that ``tomllib.loads`` reads back unchanged.

    >>> print(dumps({"optimizer": {"name": "sgd", "lr": 0.1}}), end="")
    [optimizer]
    name = "sgd"
    lr = 0.1
    """
    return "\n".join(_body(document, ())).lstrip("\n") + "\n"


def _body(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if not _under_headings(value):
            yield f"{_key(key)} = {dumps_value(value)}"
    for key, value in table.items():
        if not _under_headings(value):
            continue
        inner = (*path, key)
        heading = ".".join(map(_key, inner))
        if not isinstance(value, Mapping):
            for item in value:
                yield f"\n[[{heading}]]"
                yield from _body(item, inner)
            continue
        if not value or not all(map(_under_headings, value.values())):
            yield f"\n[{heading}]"
        yield from _body(value, inner)


def _under_headings(value: Any) -> bool:
    """Whether it is a table or a list of tables, which stand below what stands in lines."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def dumps_value(value: Any) -> str:
    """Write one value as TOML.

    >>> dumps_value([True, 1e-05, "a"])
    '[true, 1e-05, "a"]'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(dumps_value, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {dumps_value(item)}" for key, item in value.items()) + "}"
    # JSON's string escapes are TOML's, but for DEL, which TOML wants escaped too.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else dumps_value(key)


def key_text(*parts: str) -> str:
    """A dotted key as a recipe has it: parts that are no bare words stand in quotes.

    >>> key_text("task", "data"), key_text("", "a.b")
    ('task.data', '""."a.b"')
    """
    return ".".join(map(_key, parts))


def shown(value: Any) -> str:
    """A value for a message: as Python writes it, a date as TOML does, and long ones cut.

    >>> shown("adamw"), shown(list(range(100)))[-8:]
    ("'adamw'", ' 16, 1 …')
    """
    text = str(value) if isinstance(value, (date, time)) else _represented(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip(', ')} …"


def _represented(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # of a number with thousands of digits
        return (
            f"a number of {value.bit_length()} bits" if isinstance(value, int) else "numbers of that length"
        )
