"""TOML of a run directory, in which anybody may have put anything."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from graftwork import GraftworkError
from graftwork_trainer.files import read_given


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a file.

    Returns:
        Its text, and what that says.

    Raises:
        GraftworkError: it is no file, cannot be read, or is not TOML.
    """
    data = read_given(path)
    try:
        text = data.decode("utf-8")
        return text, tomllib.loads(text)
    except RecursionError as error:
        raise GraftworkError(f"{path}: not valid TOML: it is nested too deeply to be read") from error
    except ValueError as error:
        raise GraftworkError(f"{path}: not valid TOML: {error}") from error
