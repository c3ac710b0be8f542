"""Values of a row of JSON or of a table, as texts and in messages."""

from __future__ import annotations

import json
import math
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


def is_text(value: Any) -> bool:
    """Whether a value can be read as text: a string or a number.

    >>> [is_text(value) for value in ("", 0.5, True, None, float("nan"))]
    [True, True, False, False, False]
    """
    if isinstance(value, bool):
        return False
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def missing_column(row: Mapping[str, Any], column: str) -> str:
    """What to say of a row that lacks a column, to stand after its place."""
    names = [str(name) for name in row]
    columns = f"its columns are {', '.join(map(repr, names))}" if names else "it has none"
    return f"no column {column!r}{did_you_mean(column, names)}; {columns}"
