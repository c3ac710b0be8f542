"""Values of a row of JSON or of a table, as texts and in messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from graftwork.errors import did_you_mean

_LONGEST_SHOWN = 40


def shown(value: Any) -> str:
    """A value as its file has it, shortened.

    >>> shown(None), shown(0.5), shown(["a"]), shown("a" * 99)[:4]
    ('null', 'the number 0.5', 'the list ["a"]', "'aaa")
    """
    if isinstance(value, str):
        return f"{value!r:.{_LONGEST_SHOWN}}"
    kind = ""
    if not isinstance(value, bool | None):
        kind = (
            "the list "
            if isinstance(value, list)
            else "the object "
            if isinstance(value, dict)
            else "the number "
        )
    return f"{kind}{json.dumps(value, ensure_ascii=False):.{_LONGEST_SHOWN}}"


def missing_column(row: Mapping[str, Any], column: str) -> str:
    """What to say of a row that lacks a column, to stand after its place."""
    names = [str(name) for name in row]
    return f"no column {column!r}{did_you_mean(column, names)}; its columns are {', '.join(map(repr, names))}"
