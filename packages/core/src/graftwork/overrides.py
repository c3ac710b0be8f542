"""``--set KEY=VALUE`` and ``--over KEY=A,B,C`` on the command line."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graftwork.errors import GraftworkError

_OPEN, _CLOSE, _QUOTES = "[{", "]}", "\"'"


@dataclass(frozen=True, slots=True)
class Override:
    """One value put over a recipe's: ``optimizer.lr = 3e-4``."""

    path: tuple[str, ...]
    value: Any
    origin: str

    @property
    def key(self) -> str:
        """The dotted path."""
        return ".".join(self.path)


def parse_set(text: str, *, option: str = "--set") -> Override:
    """Read ``optimizer.lr=3e-4``: the value as TOML, or as a plain string where it is no TOML.

    Raises:
        GraftworkError: no ``=``, or no section before the key.

    >>> parse_set("optimizer.lr=3e-4").value, parse_set("optimizer.name=sgd").value
    (0.0003, 'sgd')
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or len(path) < 2 or not all(path):
        raise GraftworkError(f"{option} takes SECTION.KEY=VALUE, like optimizer.lr=3e-4, got {text!r}")
    return Override(path, _parse_value(value.strip()), f"{option} {text}")


def parse_over(text: str, *, option: str = "--over") -> list[Override]:
    """Read ``optimizer.name=adamw,sgd``: one override per value; commas in brackets or quotes do not split.

    >>> [override.value for override in parse_over("optimizer.betas=[0.9,0.99],[0.8,0.9]")]
    [[0.9, 0.99], [0.8, 0.9]]
    """
    key, equals, values = text.partition("=")
    parts = [part.strip() for part in _split(values)]
    if not equals or not all(parts):
        raise GraftworkError(
            f"{option} takes SECTION.KEY=VALUE,VALUE, like optimizer.name=adamw,sgd, got {text!r}"
        )
    return [parse_set(f"{key}={part}", option=option) for part in parts]


def product(overs: Sequence[str], *, option: str = "--over") -> list[list[Override]]:
    """Every combination of the values of several ``--over``, the last varying fastest.

    Args:
        overs: ``KEY=A,B`` each.
        option: where they stand, for messages.
    """
    values = [parse_over(text, option=option) for text in overs]
    return [list(combination) for combination in itertools.product(*values)]


def _split(text: str) -> list[str]:
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
    return parts


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
