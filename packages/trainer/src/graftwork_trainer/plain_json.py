"""Strict JSON: what other parsers read too, so that a number which is none becomes ``null``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graftwork import GraftworkError
from graftwork_trainer.files import read_file


def to_json(data: Any, *, indent: int | None = 2) -> str:
    """Return data as JSON, with ``null`` for infinities and for what is not a number.

    >>> print(to_json({"loss": math.nan, "steps": 3}, indent=None), end="")
    {"loss": null, "steps": 3}
    """
    return json.dumps(_finite(data), indent=indent, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a file.

    Raises:
        GraftworkError: it is no file, or not JSON.
    """
    try:
        return json.loads(read_file(path))
    except RecursionError as error:
        raise GraftworkError(f"{path}: not valid JSON: it is nested too deeply to be read") from error
    except ValueError as error:
        raise GraftworkError(f"{path}: not valid JSON: {error}") from error


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(item) for item in data]
    return data
