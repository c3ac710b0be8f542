"""Objects of JSON lines."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from graftwork import GraftworkError
from graftwork_trainer.records.lines import decoded, numbered_lines, opened

_HALF_A_CHARACTER = re.compile(r"\\u[dD]")
_ONE_A_LINE = (
    "every line must hold a whole object (`jq -c '.[]'` writes an array so, `jq -c .` indented ones)"
)


def json_rows(
    path: Path, *, opened: Callable[[Path], BinaryIO] = opened
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a ``.jsonl`` file, each with the number of its line; empty lines are passed over.

    ``NaN`` and ``Infinity``, which Python writes, are numbers; who reads a field refuses what it cannot use.

    Args:
        path: of the file.
        opened: opens it, see :func:`~graftwork_trainer.records.lines.numbered_lines`.

    Raises:
        GraftworkError: it cannot be read, or a line holds no object.
    """
    for number, line in numbered_lines(path, opened=opened):
        if not line.isspace():
            place = f"{path}, line {number}"
            text = decoded(line, place)
            del line  # which may be long
            yield number, _object(text, place)


def objects(lines: Iterable[str], source: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of JSON lines, each with the number of its line; empty lines are passed over.

    Args:
        lines: of text.
        source: what they are from, for messages.

    Raises:
        GraftworkError: a line holds no object.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _object(line, f"{source}, line {number}")


def _object(line: str, place: str) -> dict[str, Any]:
    # Files that were put together have a byte order mark within.
    line = line.removeprefix("\ufeff")
    doubled: dict[str, int] = {}

    def pairs_as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        # The outermost object comes last; within it nobody reads a key.
        doubled.clear()
        if len(found) < len(pairs):
            doubled.update(Counter(name for name, _ in pairs).most_common(1))
        return found

    try:
        row = json.loads(line, object_pairs_hook=pairs_as_object)
    except json.JSONDecodeError as error:
        if error.pos >= len(line.rstrip()) or error.msg.startswith("Unterminated"):
            told = f"not JSON on its own; {_ONE_A_LINE}"
        elif line[error.pos :].strip() == "," and error.msg.startswith("Extra"):
            told = "not JSON (a comma after the object; remove it)"
        else:
            told = f"not JSON ({error.msg} at character {error.pos + 1})"
        raise GraftworkError(f"{place}: {told}") from error
    except RecursionError as error:
        raise GraftworkError(f"{place}: its JSON is nested too deeply to be read") from error
    except ValueError as error:
        raise GraftworkError(f"{place}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise GraftworkError(f"{place}: expected an object, got {line.strip():.60}; {_ONE_A_LINE}")
    for name, times in doubled.items():
        raise GraftworkError(f"{place}: not JSON (key {name!r} stands {times} times in one object)")
    return _whole(row) if _HALF_A_CHARACTER.search(line) else row


def _whole(value: Any) -> Any:
    """The same with a question mark for each half of a character, which JSON can spell and UTF-8 cannot."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value
