"""Rows of a user's tables, each with its place for messages.

``.csv`` follows RFC 4180 (a header line; quotes where needed). ``.tsv`` has a header line, tabs and no
quoting: a quotation mark is a character like any other. Each line of a ``.jsonl`` file is an object.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from graftwork import GraftworkError


def records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a table, each with the number of its line.

    Args:
        path: a ``.csv``, ``.tsv`` or ``.jsonl`` file.

    Raises:
        GraftworkError: it cannot be read, or a line is not what such a file holds.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            if path.suffix.lower() == ".jsonl":
                yield from objects(stream, str(path))
                return
            # A field of a table may be a whole article.
            csv.field_size_limit(max(csv.field_size_limit(), 10**9))
            tabs = path.suffix.lower() == ".tsv"
            reader = (
                csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
                if tabs
                else csv.DictReader(stream, strict=True)
            )
            for row in reader:
                yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
    except csv.Error as error:
        raise GraftworkError(f"{path}: not a table: {error}") from error
    except OSError as error:
        raise GraftworkError(f"{path}: cannot be read: {error.strerror}") from error


def objects(lines: Iterable[str], source: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of JSON lines, each with the number of its line; empty lines are passed over.

    Args:
        lines: of text.
        source: what they are from, for messages.

    Raises:
        GraftworkError: a line holds no object.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise GraftworkError(f"{source}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise GraftworkError(f"{source}, line {number}: expected an object, got {line.strip()[:60]}")
        yield number, row


def not_utf8(path: Path, error: UnicodeDecodeError) -> GraftworkError:
    """What to say of a file in another encoding."""
    return GraftworkError(f"{path}: not UTF-8 text (byte {error.start}: {error.reason}); convert it to UTF-8")
