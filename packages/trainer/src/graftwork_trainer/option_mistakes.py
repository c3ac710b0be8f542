"""Every option that the components of a recipe refuse, told at once and not one a start.

Ranges are checked where components are built, each after what it is built of; so where one refuses an option
the others are asked too, over stand-ins for what is not there: nothing is read, and no weights are made.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from graftwork import Choice, Kind
from graftwork.errors import OptionError, RecipeError
from graftwork.resolution import Resolved
from graftwork.stages import told_by_stage
from graftwork.tables import NO_SOURCE

# What a model is told of its data where that is a number: of tokens, classes, features.
_SOME = 256
# Of weights that stand in for a model's: no option asks for wider ones.
_WIDE = 4096
# Of a training whose length is not known here.
_STEPS = 1000


@contextmanager
def ranges_told() -> Iterator[None]:
    """Add to the mistakes of a recipe which options of it are out of their ranges."""
    try:
        yield
    except RecipeError as error:
        lines = [_line(str(one), error.source) for one in _refused(error.choices)]
        if not lines:
            raise
        raise RecipeError(error.source, [*error.mistakes, *lines], error.choices) from error


@contextmanager
def refusals_told_together(resolved: Resolved) -> Iterator[None]:
    """Where a component refuses an option, tell with it what else is refused.

    Raises:
        RecipeError: several are, a line each.
    """
    try:
        yield
    except OptionError as error:
        lines = [_line(one, resolved.source) for one in refusals_of(resolved, error)]
        if len(lines) == 1:
            raise
        raise RecipeError(resolved.source, lines) from error


def refusals_of(resolved: Resolved, met: OptionError) -> list[str]:
    """What is refused of every training of a recipe, a sentence each.

    Args:
        resolved: the recipe.
        met: what one of its components refused, which may depend on data.
    """
    by_name = {one.name: _refused((one.task, one.trainer)) for one in resolved.stages or (resolved,)}
    found = [one for of_stage in by_name.values() for one in of_stage]
    if str(met) not in map(str, found):
        # Over what stood in for a model it was told in other words, or not at all.
        like = next((one for one in found if one.is_like(met)), None)
        for of_stage in by_name.values():
            of_stage[:] = [met if one is like else one for one in of_stage]
        if like is None:
            next(iter(by_name.values())).insert(0, met)
    told = {name: list(map(str, of_stage)) for name, of_stage in by_name.items()}
    return told_by_stage(told) if resolved.stages else told[resolved.name]


def _line(sentence: str, source: str) -> str:
    """Without the file, which is named above all of them."""
    return sentence.replace(f" of {source})", ")") if source != NO_SOURCE else sentence


def _refused(choices: Sequence[Choice]) -> list[OptionError]:
    from torch import device

    model: Any = None
    refused: list[OptionError] = []
    for choice in choices:
        refused += choice.refusals()
        with device("meta"):
            for taker, taken in _taken(choice):
                facts = _facts(taken, taker.table)
                if taken.kind.name == Kind.OPTIMIZER:
                    weights = list((model or _stand_in()).parameters())
                    refused += taken.refusals(weights, **taken.open_facts({"total_steps": _STEPS}))
                elif taken.options and facts is not None:  # defaults are refused by nobody
                    refused += taken.refusals(**facts)
                    model = _built(taken, facts) if taken.kind.name == Kind.MODEL else model
    return refused


def _taken(choice: Choice) -> Iterator[tuple[Choice, Choice]]:
    """Every component within another, with who takes it."""
    for value in choice.options.values():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, Choice):
                yield choice, inner
                yield from _taken(inner)


def _facts(choice: Choice, taker: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a component is supplied with: the taker's options, numbers to a model; None where it is more."""
    facts: dict[str, Any] = {}
    for name, parameter in _required(choice):
        if name in taker and not isinstance(taker[name], Mapping):
            facts[name] = taker[name]
        elif choice.kind.name == Kind.MODEL and parameter.annotation in (int, "int", parameter.empty):
            facts[name] = _SOME
        else:
            return None
    return facts


def _required(choice: Choice) -> Iterable[tuple[str, inspect.Parameter]]:
    try:
        parameters = inspect.signature(choice.target).parameters
    except ValueError:  # a builtin has none
        return []
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    of_groups = {group.parameter for group in choice.groups}
    return [
        (name, one)
        for name, one in parameters.items()
        if one.default is one.empty and one.kind not in several and name not in {*choice.options, *of_groups}
    ]


def _built(choice: Choice, facts: Mapping[str, Any]) -> Any:
    """A model with whose weights an optimizer is asked; None where it cannot be built."""
    try:
        return choice(**facts)
    except Exception:
        return None


def _stand_in() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(_WIDE, _WIDE), nn.Linear(_WIDE, _WIDE))
