"""Which runs belong together, and what to call them.

Runs whose resolved recipes are equal apart from ``trainer.seed`` are one variant. Its label holds the values
of the keys that differ between variants and leaves out what follows from a name: where ``optimizer.name``
differs, the options of the optimizers differ too, and only tell apart two variants of the same name.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graftwork.toml import dumps_value
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.stage_folders import STAGES, stage_names

_SEED = "trainer.seed"
_LONGEST_VALUE = 24
UNSET = "unset"


@dataclass(frozen=True, slots=True)
class Variant:
    """Runs of one recipe over seeds."""

    label: str
    runs: tuple[RunRecord, ...]

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe that the runs share, with the seed of the first."""
        return self.runs[0].recipe

    @property
    def complete_runs(self) -> tuple[RunRecord, ...]:
        """The runs that reached their end."""
        return tuple(run for run in self.runs if run.complete)

    @property
    def counted_runs(self) -> tuple[RunRecord, ...]:
        """The runs that means are taken over: the complete ones, or all while there is none."""
        return self.complete_runs or self.runs

    @property
    def status(self) -> str:
        """Empty where a run completed, else ``failed`` or ``unfinished``."""
        if self.complete_runs:
            return ""
        return "failed" if all(run.status == "failed" for run in self.runs) else "unfinished"


@dataclass(frozen=True, slots=True)
class Difference:
    """A recipe key on which variants disagree, with its value in each, ``unset`` where it is absent."""

    key: str
    values: tuple[str, ...]


def group_runs(records: Iterable[RunRecord]) -> list[Variant]:
    """Group runs into variants, in order of first appearance, runs in order of their seeds."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(_identity(record.recipe), []).append(record)
    ordered = [tuple(sorted(runs, key=_seed_order)) for runs in groups.values()]
    labels = _labels([runs[0] for runs in ordered])
    return [Variant(label, runs) for label, runs in zip(labels, ordered, strict=True)]


def differences(variants: Sequence[Variant]) -> list[Difference]:
    """Every recipe key on which the variants disagree, the names first."""
    tables = [flatten(variant.recipe) for variant in variants]
    keys = sorted(_differing(tables), key=lambda key: (not key.endswith("name"), key))
    return [Difference(key, tuple(value_text(table.get(key, UNSET)) for table in tables)) for key in keys]


def flatten(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and their values, without the seed.

    What all stages of a recipe agree on is the recipe's; the rest has the stage's name in front.

    >>> flatten({"optimizer": {"name": "sgd", "momentum": {"beta": 0.9}}, "trainer": {"seed": 1}})
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
        elif dotted != _SEED:
            flat[dotted] = value
    return flat


def _flat_stages(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    flat = {
        name: flatten({key: value for key, value in stage.items() if key != "name"})
        for name, stage in stages.items()
    }
    shared: dict[str, Any] = {}
    for key in dict.fromkeys(key for of_stage in flat.values() for key in of_stage):
        if len({_text_of(of_stage, key) for of_stage in flat.values()}) == 1:
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


def _identity(recipe: Mapping[str, Any]) -> str:
    """A recipe without its seeds, as text."""
    sections = _seedless(recipe)
    if stage_names(recipe):
        sections[STAGES] = [_seedless(stage) for stage in recipe[STAGES]]
    return canonical(sections)


def _seedless(sections: Mapping[str, Any]) -> dict[str, Any]:
    trainer = sections.get("trainer")
    if not isinstance(trainer, Mapping):
        return dict(sections)
    return {**sections, "trainer": {key: value for key, value in trainer.items() if key != "seed"}}


def canonical(value: object) -> str:
    """A value of a recipe as a text that is the same for equal values alone.

    Other than in Python, true is not 1 and nan is nan. 1 and 1.0 are one value, as an option takes either.

    >>> canonical({"b": [1.0, True], "a": "1"})
    '{"a" = "1", "b" = [1, true]}'
    """
    if isinstance(value, Mapping):
        inner = (f"{dumps_value(key)} = {canonical(item)}" for key, item in sorted(value.items()))
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(canonical, value)) + "]"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else dumps_value(value)


def _seed_order(run: RunRecord) -> tuple[bool, float, str]:
    return (True, float(run.seed), "") if isinstance(run.seed, int | float) else (False, 0.0, str(run.seed))


def _differing(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for table in tables for key in table)
    return [key for key in keys if len({_text_of(table, key) for table in tables}) > 1]


def _text_of(table: Mapping[str, Any], key: str) -> str | None:
    return canonical(table[key]) if key in table else None


def _labels(representatives: Sequence[RunRecord]) -> list[str]:
    """Names by what differs: the stages, where these do, and then among those of the same stages."""
    stages = [" + ".join(stage_names(run.recipe)) for run in representatives]
    if len(set(stages)) == 1:
        return _labels_of_alike(representatives)
    labels = [""] * len(stages)
    for names in dict.fromkeys(stages):
        alike = [place for place, other in enumerate(stages) if other == names]
        for place, label in zip(
            alike, _labels_of_alike([representatives[one] for one in alike]), strict=True
        ):
            labels[place] = f"{names}: {label}" if names else label
    return _made_unique(labels)


def _labels_of_alike(representatives: Sequence[RunRecord]) -> list[str]:
    if len(representatives) == 1:
        return [_own_name(representatives[0])]
    tables = [flatten(run.recipe) for run in representatives]
    staged = bool(stage_names(representatives[0].recipe))
    differing = _differing(tables)
    renamed = {key.removesuffix("name") for key in differing if key.endswith(".name")}
    governed = [key for key in differing if any(key.startswith(t) and key != f"{t}name" for t in renamed)]
    shown = [key for key in differing if key not in governed]
    names = [key for key in shown if key.endswith(".name")]
    options = [key for key in shown if key not in names]
    leads = names or _leading_name(options)

    def signature(table: Mapping[str, Any]) -> Hashable:
        return tuple(_text_of(table, key) for key in shown)

    keys_of = []
    for table in tables:
        alike = [other for other in tables if signature(other) == signature(table)]
        apart = set(_differing(alike))
        keys_of.append([*options, *(key for key in governed if key in apart)])
    short = _short_names({key for own in keys_of for key in own})
    labels = []
    for table, own in zip(tables, keys_of, strict=True):
        parts = [_shortened(table.get(key, UNSET)) for key in leads if key in table]
        # What all stages share in one recipe stands under their names in another.
        told = [key for key in own if key in table or not staged]
        parts += [f"{short[key]}={_shortened(table.get(key, UNSET))}" for key in told]
        labels.append(", ".join(parts))
    return _made_unique(labels)


def _own_name(run: RunRecord) -> str:
    flat = flatten(run.recipe)
    for key in ("name", "optimizer.name", "task.name"):
        # Of stages that do not share it, each its own.
        of_stages = [f"{STAGES}.{name}.{key}" for name in stage_names(run.recipe)]
        if found := [_shortened(flat[one]) for one in (key, *of_stages) if one in flat]:
            return ", ".join(dict.fromkeys(found))
    return run.path.name


def _leading_name(options: Sequence[str]) -> list[str]:
    """Where only options differ: the name of the one section that they stand in, else of the optimizer."""
    sections = {key.split(".")[0] for key in options} - {"trainer"}
    return [f"{sections.pop()}.name" if len(sections) == 1 else "optimizer.name"]


def _short_names(keys: Iterable[str]) -> dict[str, str]:
    """The last part of every dotted key, and the whole key where two share it."""
    keys = list(keys)
    uses = Counter(key.rpartition(".")[2] for key in keys)
    return {key: last if uses[last := key.rpartition(".")[2]] == 1 else key for key in keys}


def _shortened(value: object) -> str:
    text = value_text(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _made_unique(labels: Sequence[str]) -> list[str]:
    """Number the labels that became equal, by shortening or because two values read the same."""
    total, taken = Counter(labels), set(labels)
    unique = []
    for label in labels:
        numbered = (f"{label} #{number}" for number in itertools.count(1))
        chosen = next(text for text in numbered if text not in taken) if total[label] > 1 else label
        taken.add(chosen)
        unique.append(chosen)
    return unique
