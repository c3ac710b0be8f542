"""A value of the command line that is no TOML, or TOML of another type, as its option's type makes it plain.

``lr=.5``, ``compile=True``, ``betas=0.9,0.95`` and ``data=2024-01-01`` can mean one thing only where the
option takes a number, true or false, two numbers, or text.
"""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from graftwork.values import NotAccepted, check, unwrap

_OPEN, _CLOSE, _QUOTES = "[{", "]}", "\"'"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_IN_BRACKETS = re.compile(r"\[(.*)\]|\((.*)\)", re.DOTALL)


def toml_value(text: str) -> Any:
    """Read a text as TOML; it is its own value where it is no TOML, and where that is a date or a time.

    >>> toml_value("3e-4"), toml_value("adamw"), toml_value("2024-01-01")
    (0.0003, 'adamw', '2024-01-01')
    """
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # ValueError also of numbers of thousands of digits
        return text
    value = document.pop("value")
    # Further lines are no part of a value.
    return text if document or not isinstance(value, (bool, int, float, str, list, dict)) else value


def split(text: str) -> list[str]:
    """The parts of a text between commas, but for those in brackets or quotes.

    >>> split("0.9, [1, 2], 'a,b'")
    ['0.9', '[1, 2]', "'a,b'"]
    """
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        else:
            depth += (character in _OPEN) - (character in _CLOSE)
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def read(text: str, annotation: Any) -> Any:
    """What an option takes a text for.

    Args:
        text: as it stands on the command line.
        annotation: of the option, evaluated.

    Raises:
        NotAccepted: it is not plain what is meant.

    >>> read(".5", float | None), read("0.9,.95", tuple[float, float]), read("True", bool), read("2024", str)
    (0.5, (0.9, 0.95), True, '2024')
    """
    annotation, _ = unwrap(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _first(text, arguments)
    if annotation in (str, Path):
        return check(text, annotation)
    if annotation in (int, float):
        if not _NUMBER.fullmatch(text):
            raise NotAccepted
        return check(float(text), annotation)
    if annotation is bool:
        if text.lower() not in ("true", "false"):
            raise NotAccepted
        return text.lower() == "true"
    if origin in (list, tuple, set, frozenset, Sequence):
        return check(_items(text, arguments), annotation)
    raise NotAccepted


def _first(text: str, alternatives: tuple[Any, ...]) -> Any:
    # Text is what anything can be taken for.
    for alternative in sorted(alternatives, key=lambda one: unwrap(one)[0] in (str, Path)):
        try:
            return read(text, alternative)
        except NotAccepted:
            continue
    raise NotAccepted


def _items(text: str, arguments: tuple[Any, ...]) -> list[Any]:
    """The parts of a list, with or without its brackets, each as the list's type has it."""
    bracketed = _IN_BRACKETS.fullmatch(text.strip())
    inner = next(filter(None, bracketed.groups()), "") if bracketed else text
    parts = [part for part in split(inner) if part]
    one_type = len(arguments) == 1 or arguments[-1:] == (Ellipsis,)
    types_of = arguments[:1] * len(parts) if one_type else arguments
    if len(types_of) != len(parts) or not parts:
        raise NotAccepted
    return [_item(part, of) for part, of in zip(parts, types_of, strict=True)]


def _item(text: str, annotation: Any) -> Any:
    value = toml_value(text)
    if isinstance(value, Mapping):
        raise NotAccepted
    try:
        return check(value, annotation)
    except NotAccepted:
        return read(text, annotation)
