"""Where and with what the runs were made, a line a fact, with all values where the runs disagree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graftwork_trainer.report.read import RunRecord

_TOLD_ELSEWHERE = frozenset({"metric_directions"})
_MOST_VALUES = 12


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the environment; ``values`` has more than one entry where runs disagree."""

    name: str
    values: tuple[str, ...]


def facts_of(runs: Iterable[RunRecord]) -> list[Fact]:
    """The environments of the runs; ``started`` differs by nature and is told as a range."""
    found: dict[str, dict[str, None]] = {}
    started = []
    for run in runs:
        told = {key: value for key, value in run.environment.items() if key not in _TOLD_ELSEWHERE}
        for key, value in _flat(told).items():
            if key == "started":
                started.append(value)
            else:
                found.setdefault(key, {})[value] = None
    facts = [Fact(name, _bounded(tuple(values))) for name, values in found.items()]
    if started:
        first, last = min(started), max(started)
        facts.append(Fact("started", (first if first == last else f"{first} to {last}",)))
    return facts


def _bounded(values: tuple[str, ...]) -> tuple[str, ...]:
    more = len(values) - _MOST_VALUES
    return values if more <= 1 else (*values[:_MOST_VALUES], f"{more} more")


def _flat(environment: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in environment.items():
        name = f"{prefix}{key.replace('_', ' ')}" if not prefix else f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, "" if key == "packages" else f"{name}: ")
        elif value is not None:
            flat[name] = value if isinstance(value, str) else json.dumps(value)
    return flat
