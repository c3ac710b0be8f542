"""``[[stages]]`` of a recipe: trainings one after another, each with sections laid over the recipe's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graftwork.catalogue import short_name
from graftwork.errors import did_you_mean
from graftwork.overrides import Override
from graftwork.toml import shown

SECTION = "stages"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Said of a stage, not of what it trains with.
_OWN_KEYS = ("name", "description")

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage is built of.

    Args:
        number: from 1.
        name: of the stage; its number where it has no other.
        tables: the recipe's sections with the stage's own over them.
        shared: sections that the recipe has for whichever stage uses them.
    """

    number: int
    name: str
    tables: Sections
    shared: frozenset[str]

    def is_meant_by(self, override: Override) -> bool:
        """Whether it is ``stages.NAME.SECTION.KEY`` with this stage's name or number."""
        first, name, *section = override.path
        return first == SECTION and name in (self.name, str(self.number)) and len(section) > 1


def read_stages(given: object, base: Sections, mistakes: list[str]) -> list[Stage]:
    """Lay the tables of every stage over the recipe's own.

    Args:
        given: what the recipe holds under ``stages``.
        base: the recipe's own sections.
        mistakes: takes what is wrong.
    """
    if not isinstance(given, list) or not given or not all(isinstance(table, Mapping) for table in given):
        mistakes.append(
            f"{SECTION}: must be tables in the order of training, each under [[stages]], got {shown(given)}"
        )
        return []
    stages: list[Stage] = []
    for number, table in enumerate(given, start=1):
        name = str(table.get("name", number))
        if not _NAME.fullmatch(name) or (name.isdigit() and name != str(number)):
            mistakes.append(
                f"stage {number}: name must be lower-case words with hyphens, like 'fine-tuning', got "
                f"{shown(table['name'])}"
            )
        if name in (stage.name for stage in stages):
            mistakes.append(f"stage {number}: {name!r} is the name of an earlier stage; each has its own")
        own: Sections = {}
        for section, value in table.items():
            if isinstance(value, Mapping):
                own[section] = dict(value)
            elif section not in _OWN_KEYS:
                mistakes.append(
                    f"stage {name!r}: {section} must be a section, [stages.{section}], got {shown(value)}"
                )
        tables = {key: laid_over(base.get(key, {}), own.get(key, {})) for key in {**base, **own}}
        stages.append(Stage(number, name, tables, frozenset(base) - frozenset(own)))
    return stages


def laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A table over another, table within table.

    Options are a component's: one that names another takes none of them, but for what the base has for that
    very name.

    >>> laid_over({"name": "sgd", "lr": 0.1, "nesterov": True}, {"lr": 0.01})
    {'name': 'sgd', 'lr': 0.01, 'nesterov': True}
    >>> laid_over({"name": "sgd", "lr": 0.1, "for": {"adamw": {"lr": 0.001}}}, {"name": "adamw"})
    {'for': {'adamw': {'lr': 0.001}}, 'name': 'adamw'}
    """
    names = [str(table.get("name", base.get("name"))) for table in (base, own)]
    renamed = "name" in base and short_name(names[0]) != short_name(names[1])
    laid = {key: _copy(value) for key, value in base.items() if key == "for" or not renamed}
    for named in laid["for"].values() if isinstance(laid.get("for"), Mapping) else ():
        # What a stage says goes before what the recipe says for a name.
        for key in named.keys() & own.keys() if isinstance(named, dict) else ():
            del named[key]
    for key, value in own.items():
        below = laid.get(key)
        if isinstance(below, str):  # a nested reference by bare name, about to get options
            below = {"name": below}
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            laid[key] = laid_over(below, value)
        else:
            laid[key] = _copy(value)
    return laid


def overrides_of(
    stages: Sequence[Stage], overrides: Sequence[Override], mistakes: list[str]
) -> list[list[Override]]:
    """What the command line puts over each stage.

    ``optimizer.lr`` goes over every stage that has the section, or over all where none has;
    ``stages.NAME.optimizer.lr``, or with a stage's number, over that one. Later ones go over earlier ones.

    Args:
        stages: of the recipe.
        overrides: in the order of the command line.
        mistakes: takes what is wrong.
    """
    of_stage: list[list[Override]] = [[] for _ in stages]
    for override in overrides:
        if override.path[0] != SECTION:
            having = [stage for stage in stages if override.path[0] in stage.tables] or stages
            for stage in having:
                of_stage[stage.number - 1].append(override)
            continue
        one = _addressed(override, stages, mistakes)
        if one is not None:
            inner = replace(override, path=override.path[2:])
            of_stage[one.number - 1].append(inner)
    return of_stage


def _addressed(override: Override, stages: Sequence[Stage], mistakes: list[str]) -> Stage | None:
    """The stage that ``stages.NAME.SECTION.KEY`` is for, its mistakes noted; None where there is none."""
    meant = next((stage for stage in stages if stage.is_meant_by(override)), None)
    if len(override.path) < 4:
        mistakes.append(f"{override.origin}: must be stages.STAGE.SECTION.KEY=VALUE")
    elif meant is None:
        names = [stage.name for stage in stages]
        mistakes.append(
            f"{override.origin}: no stage is called {override.path[1]!r}"
            f"{did_you_mean(override.path[1], names)}; there are {', '.join(names) or 'none'}"
        )
    return meant


def told_by_stage(mistakes: Mapping[str, Iterable[str]]) -> list[str]:
    """Each mistake once: with the names of its stages, without where it is in all of them.

    Args:
        mistakes: of every stage, by its name.

    >>> told_by_stage({"general": ["a: x", "b: y"], "mine": ["b: y"]})
    ["stage 'general': a: x", 'b: y']
    """
    stages_of: dict[str, list[str]] = {}
    for name, of_stage in mistakes.items():
        for mistake in of_stage:
            stages_of.setdefault(mistake, []).append(repr(name))
    return [
        mistake
        if 1 < len(names) == len(mistakes)
        else f"stage{'s' if len(names) > 1 else ''} {' and '.join(names)}: {mistake}"
        for mistake, names in stages_of.items()
    ]


def _copy(value: Any) -> Any:
    return {key: _copy(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value
