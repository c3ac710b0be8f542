"""``--set KEY=VALUE`` and ``--over KEY=A,B,C`` on the command line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from graftwork.errors import GraftworkError, Mistakes
from graftwork.plain_text import split, toml_value


@dataclass(frozen=True, slots=True)
class Override:
    """One value put over a recipe's: ``optimizer.lr = 3e-4``.

    Args:
        path: section and keys.
        value: as TOML gives it.
        origin: where it was said, for messages.
        text: as it was written; None where it was not: an option may take it for more than its value.
    """

    path: tuple[str, ...]
    value: Any
    origin: str
    text: str | None = field(default=None, compare=False)

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
    path = _path_of(key)
    if not equals or path is None:
        likely = _likely(key, value) if equals else ""
        raise GraftworkError(
            f"{option} takes SECTION.KEY=VALUE, like optimizer.lr=3e-4, got {text!r}{likely}"
        )
    return Override(path, toml_value(value.strip()), f"{option} {text}", value.strip())


def _path_of(key: str) -> tuple[str, ...] | None:
    """A section and what lies in it; None where a part is lacking."""
    path = tuple(part.strip() for part in key.split("."))
    return path if len(path) > 1 and all(path) else None


def _likely(key: str, value: str) -> str:
    """What is plainly meant by a key without a section, or by a section without a key."""
    name = key.strip()
    if name in ("task", "model", "optimizer", "trainer"):
        return f"; a component is {name}.name={value}"
    if name in ("steps", "seed", "epochs", "minutes"):
        return f"; of the trainer it is trainer.{name}={value}"
    return ""


def parse_sets(texts: Sequence[str], mistakes: Mistakes) -> list[Override]:
    """Read every ``--set``.

    Args:
        texts: ``KEY=VALUE`` each.
        mistakes: takes what is wrong; the right ones are returned.
    """
    overrides: list[Override] = []
    for text in texts:
        with mistakes.noted():
            overrides.append(parse_set(text))
    return overrides


def parse_over(text: str, *, option: str = "--over") -> list[Override]:
    """Read ``optimizer.name=adamw,sgd``: one override per value; commas in brackets or quotes do not split.

    >>> [override.value for override in parse_over("optimizer.betas=[0.9,0.99],[0.8,0.9]")]
    [[0.9, 0.99], [0.8, 0.9]]
    """
    key, equals, values = text.partition("=")
    parts = split(values)
    if not equals or not all(parts) or _path_of(key) is None:
        likely = _likely(key, values) if equals else ""
        raise GraftworkError(
            f"{option} takes SECTION.KEY=VALUE,VALUE, like optimizer.name=adamw,sgd, got {text!r}{likely}"
        )
    return [parse_set(f"{key}={part}", option=option) for part in parts]


def product(overs: Sequence[str], *, option: str = "--over") -> list[list[Override]]:
    """Every combination of the values of several ``--over``, the last varying fastest.

    Args:
        overs: ``KEY=A,B`` each.
        option: where they stand, for messages.

    Raises:
        GraftworkError: one is malformed, or two are of one key; all mistakes.
    """
    mistakes = Mistakes()
    of_key: dict[str, list[list[Override]]] = {}
    for text in overs:
        with mistakes.noted():
            parsed = parse_over(text, option=option)
            of_key.setdefault(parsed[0].key, []).append(parsed)
    for key, several in of_key.items():
        with mistakes.noted():
            if len(several) > 1:
                texts = dict.fromkeys(str(override.text) for parsed in several for override in parsed)
                raise GraftworkError(
                    f"{option} {key} is given {len(several)} times: give all of its values at once, "
                    f"{option} {key}={','.join(texts)}"
                )
    mistakes.refuse(option)
    return [list(combination) for combination in itertools.product(*(one for (one,) in of_key.values()))]
