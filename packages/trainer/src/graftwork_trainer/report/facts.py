"""Where and with what runs were made, a line a fact, with all values where the runs disagree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graftwork_trainer.report.read import RunRecord

_MOST_VALUES = 6
_MOST_CHARACTERS = 600
_TOLD_ELSEWHERE = frozenset({"metric_directions"})
_ORIGIN = frozenset({"command", "host", "commit", "uncommitted_changes", "started"})


@dataclass(frozen=True, slots=True)
class Fact:
    """One line; ``values`` has more than one entry where runs disagree."""

    name: str
    values: tuple[str, ...]


def origin_of(runs: Sequence[RunRecord]) -> list[Fact]:
    """What was typed, on which host, in which checkout and when; what no run tells is left out.

    When differs by nature and is told as a range.
    """
    environments = [run.environment for run in runs]
    started = sorted({str(own["started"]) for own in environments if own.get("started")})
    facts = [
        _fact("command", (own.get("command") for own in environments)),
        _fact("host", (own.get("host") for own in environments)),
        _fact("checkout", map(_checkout, environments)),
        _fact("started", [" to ".join(dict.fromkeys((started[0], started[-1])))] if started else []),
    ]
    return [fact for fact in facts if fact.values]


def environment_of(runs: Iterable[RunRecord]) -> list[Fact]:
    """Versions, device, threads, facts of the data, and what else the runs keep of where they were made."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        kept = {key: value for key, value in run.environment.items() if key not in _TOLD_ELSEWHERE | _ORIGIN}
        for key, value in _flat(kept).items():
            found.setdefault(key, {})[value] = None
    return [_fact(name, values) for name, values in found.items()]


def _checkout(environment: Mapping[str, Any]) -> str | None:
    """The commit, and whether what ran is what it holds."""
    commit = environment.get("commit")
    if not commit:
        return None
    changed = environment.get("uncommitted_changes")
    told = "" if changed is None else f", with{'' if changed else 'out'} uncommitted changes"
    return f"{commit}{told}"


def _fact(name: str, values: Iterable[object]) -> Fact:
    told = tuple(dict.fromkeys(_cut(str(value)) for value in values if value is not None))
    more = len(told) - _MOST_VALUES
    return Fact(name, told if more <= 1 else (*told[:_MOST_VALUES], f"{more} more"))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _flat(environment: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in environment.items():
        name = f"{prefix}{key.replace('_', ' ')}" if not prefix else f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, "" if key == "packages" else f"{name}: ")
        elif value is not None:
            flat[name] = value if isinstance(value, str) else json.dumps(value)
    return flat
