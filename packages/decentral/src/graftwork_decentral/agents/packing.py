"""The state dicts of several optimizers as one, in the form that torch gives to those of one.

What an optimizer holds for itself, and for no parameter, stands under ``"agents"`` by the agent's number::

    {"state": {0: {...}, 1: {...}}, "param_groups": [...], "agents": {"0": {"state": {...}, ...}}}
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graftwork import GraftworkError

PREFIX = "strategy."
_OWN = "agents"


def pack(
    inner_states: Mapping[int, Mapping[str, Any]], extras: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Join them; parameters are numbered through.

    Args:
        inner_states: of each optimizer, by the agent that it is of.
        extras: for each optimizer and each of its parameters what is to stand beside its state, under names
            that begin with ``strategy.``.
    """
    state: dict[int, Any] = {}
    groups: list[dict[str, Any]] = []
    own: dict[str, dict[str, Any]] = {}
    first = 0
    for (agent, inner), beside in zip(inner_states.items(), extras, strict=True):
        for group in inner["param_groups"]:
            groups.append({**group, "params": [first + number for number in group["params"]]})
        for number, extra in enumerate(beside):
            entry = inner["state"].get(number, {})
            if entry or extra:
                state[first + number] = {**entry, **extra}
        first += len(beside)
        of_none = {key: value for key, value in inner["state"].items() if key not in range(len(beside))}
        further = {key: value for key, value in inner.items() if key not in ("state", "param_groups")}
        if of_none or further:
            own[str(agent)] = {**further, "state": of_none}
    return {"state": state, "param_groups": groups, **({_OWN: own} if own else {})}


def unpack(
    packed: Mapping[str, Any], agents: Iterable[int], counts: Sequence[Sequence[int]]
) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Undo :func:`pack`.

    Args:
        packed: joined.
        agents: that the optimizers are of.
        counts: for each optimizer the sizes of its groups.

    Raises:
        GraftworkError: the groups are others.
    """
    sizes = [len(group["params"]) for group in packed["param_groups"]]
    wanted = [size for groups in counts for size in groups]
    if sizes != wanted:
        raise GraftworkError(
            f"the saved state has parameter groups of {sizes} parameters and the optimizer has {wanted}: "
            "they are of another model, or of another number of agents in this process"
        )
    inner_states, extras = [], []
    groups = iter(packed["param_groups"])
    first = 0
    for agent, own_counts in zip(agents, counts, strict=True):
        own_groups = [
            {**group, "params": [number - first for number in group["params"]]}
            for group in itertools.islice(groups, len(own_counts))
        ]
        numbers = range(first, first + sum(own_counts))
        first = numbers.stop
        entries = [dict(packed["state"].get(number, {})) for number in numbers]
        beside = [
            {name: entry.pop(name) for name in [*entry] if isinstance(name, str) and name.startswith(PREFIX)}
            for entry in entries
        ]
        own = packed.get(_OWN, {}).get(str(agent), {})
        state = {number: entry for number, entry in enumerate(entries) if entry}
        inner_states.append({**own, "state": state | own.get("state", {}), "param_groups": own_groups})
        extras.append(beside)
    return inner_states, extras
