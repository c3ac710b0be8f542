"""A recipe's keys and values as texts that can be compared and shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graftwork.catalogue import short_name
from graftwork.toml import dumps_value
from graftwork_trainer.stage_folders import STAGES, stage_names

SEED = "trainer.seed"
UNSET = "unset"
_RATES = ("lr", "learning_rate")


def flatten(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and their values, without the seed.

    What all stages of a recipe agree on is the recipe's; the rest has the stage's name in front. A component
    of Graftwork's own is the same with its plugin's name and without.

    >>> flatten({"optimizer": {"name": "optim-core:sgd", "momentum": {"beta": 0.9}}, "trainer": {"seed": 1}})
    {'optimizer.name': 'sgd', 'optimizer.momentum.beta': 0.9}
    >>> stages = [{"name": "a", "optimizer": {"name": "sgd", "lr": lr}} for lr in (0.1, 0.2)]
    >>> flatten({"stages": [stages[0], {**stages[1], "name": "b"}]})
    {'optimizer.name': 'sgd', 'stages.a.optimizer.lr': 0.1, 'stages.b.optimizer.lr': 0.2}
    """
    if not prefix and (names := stage_names(recipe)):
        return _flat_stages(dict(zip(names, recipe[STAGES], strict=True)))
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        dotted = prefix + key
        if isinstance(value, Mapping):
            flat |= flatten(value, dotted + ".")
        elif dotted != SEED:
            flat[dotted] = short_name(value) if key == "name" and isinstance(value, str) else value
    return flat


def _flat_stages(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    flat = {
        name: flatten({key: value for key, value in stage.items() if key != "name"})
        for name, stage in stages.items()
    }
    shared: dict[str, Any] = {}
    for key in dict.fromkeys(key for of_stage in flat.values() for key in of_stage):
        if len({text_of(of_stage, key) for of_stage in flat.values()}) == 1:
            shared[key] = next(iter(flat.values()))[key]
            continue
        shared |= {f"{STAGES}.{name}.{key}": own[key] for name, own in flat.items() if key in own}
    return shared


def value_text(value: object) -> str:
    """A recipe value in a few characters, as TOML writes it but without quotes.

    >>> value_text([1e-05, True, "cosine"])
    '[1e-05, true, cosine]'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {value_text(inner)}" for key, inner in value.items()) + "}"
    return " ".join(str(value).split())


def canonical(value: object) -> str:
    """A value of a recipe as a text that is the same for equal values alone.

    Other than in Python, true is not 1 and nan is nan. 1 and 1.0 are one value, as an option takes either,
    and so are the names of a component of Graftwork's own with its plugin and without.

    >>> canonical({"b": [1.0, True], "a": "1"})
    '{"a" = "1", "b" = [1, true]}'
    """
    if isinstance(value, Mapping):
        items = {**value, "name": short_name(value["name"])} if isinstance(value.get("name"), str) else value
        inner = (f"{dumps_value(key)} = {canonical(item)}" for key, item in sorted(items.items()))
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(canonical, value)) + "]"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else dumps_value(value)


def text_of(table: Mapping[str, Any], key: str) -> str | None:
    """The canonical text of a key's value, None where the table does not have it."""
    return canonical(table[key]) if key in table else None


def differing(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys on which flat recipes do not agree, in their order."""
    keys = dict.fromkeys(key for table in tables for key in table)
    return [key for key in keys if len({text_of(table, key) for table in tables}) > 1]


def is_rate(key: str) -> bool:
    """Whether a key is a learning rate, which most of all decides what an optimizer reaches."""
    return key.rpartition(".")[2] in _RATES


def rates_first(keys: Iterable[str]) -> list[str]:
    """Learning rates, then the names of components, then the rest, each in the order given.

    >>> rates_first(["optimizer.betas", "optimizer.name", "optimizer.lr"])
    ['optimizer.lr', 'optimizer.name', 'optimizer.betas']
    """
    return sorted(keys, key=lambda key: (not is_rate(key), not key.endswith("name")))
