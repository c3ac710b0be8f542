"""What a converted model says of its attention: in its configuration, or on itself where it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from graftwork import Choice, GraftworkError, Kind, choose
from graftwork_trainer.attention import RECORD


def write_record(model: nn.Module, record: Mapping[str, Any]) -> None:
    """Say what a model was converted to."""
    holder: Any = getattr(model, "config", model)
    setattr(holder, RECORD, dict(record))


def forget_record(model: nn.Module) -> None:
    """Say no longer that a model was converted."""
    holder: Any = getattr(model, "config", model)
    if hasattr(holder, RECORD):
        delattr(holder, RECORD)


def chosen_by(
    record: Any, file: Path, attention: Choice | Callable[..., nn.Module] | None
) -> tuple[Choice | Callable[..., nn.Module], int]:
    """The attention that a record means, and its ``max_len``.

    Args:
        record: as it was read.
        file: that it was read from, for messages.
        attention: in the place of that which it names.

    Raises:
        GraftworkError: it is no record, nothing installed has that name, or it has other options by now.
    """
    if not isinstance(record, Mapping) or not isinstance(record.get("max_len"), int):
        raise GraftworkError(
            f"{file}: {RECORD} must be a table with name, options and max_len, as a converted model has it, "
            f"got {record!r}"
        )
    if attention is not None:
        return attention, record["max_len"]
    if "name" not in record:
        raise GraftworkError(
            f"{file}: the model was converted by a function that has no registered name; give that function "
            "as attention"
        )
    try:
        choice = choose(Kind.ATTENTION, record["name"], record.get("options") or {})
    except GraftworkError as error:
        raise GraftworkError(f"{file}: {RECORD}: {error}") from error
    return choice, record["max_len"]
