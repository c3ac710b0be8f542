"""The state dicts of several optimizers as one, in the form that torch gives to those of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graftwork import GraftworkError

PREFIX = "strategy."


def pack(
    inner_states: Sequence[Mapping[str, Any]], extras: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Join them; parameters are numbered through.

    Args:
        inner_states: of each optimizer.
        extras: for each optimizer and each of its parameters what is to stand beside its state, under names
            that begin with ``strategy.``.
    """
    state: dict[int, Any] = {}
    groups: list[dict[str, Any]] = []
    first = 0
    for inner, beside in zip(inner_states, extras, strict=True):
        for group in inner["param_groups"]:
            groups.append({**group, "params": [first + number for number in group["params"]]})
        for number, extra in enumerate(beside):
            own = inner["state"].get(number, {})
            if own or extra:
                state[first + number] = {**own, **extra}
        first += len(beside)
    return {"state": state, "param_groups": groups}


def unpack(
    packed: Mapping[str, Any], counts: Sequence[Sequence[int]]
) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Undo :func:`pack`.

    Args:
        packed: joined.
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
    for own_counts in counts:
        own_groups: list[dict[str, Any]] = []
        # Numbers, or names where a distributed checkpoint has been at work: their order is what counts.
        keys: list[Any] = []
        for count in own_counts:
            group = next(groups)
            own_groups.append({**group, "params": list(range(len(keys), len(keys) + count))})
            keys += group["params"]
        entries = [dict(packed["state"].get(key, {})) for key in keys]
        beside = [
            {name: entry.pop(name) for name in [*entry] if isinstance(name, str) and name.startswith(PREFIX)}
            for entry in entries
        ]
        state = {number: entry for number, entry in enumerate(entries) if entry}
        inner_states.append({"state": state, "param_groups": own_groups})
        extras.append(beside)
    return inner_states, extras
