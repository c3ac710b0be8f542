"""Values as TOML can hold them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graftwork.choice import Choice
from graftwork.values import NONE


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
