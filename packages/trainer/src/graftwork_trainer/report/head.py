"""What all runs of a report share, in a few words under its headline: task, model, data, length, device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graftwork_trainer.report.grounds import data_set
from graftwork_trainer.report.numerals import compact
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.recipe_keys import flatten, value_text
from graftwork_trainer.report.variants import Variant
from graftwork_trainer.stage_folders import stage_names

_LONGEST = 60
_SIZES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def shared_facts(variants: Sequence[Variant]) -> list[str]:
    """What every run agrees on; whatever differs is left out, as the page tells it elsewhere."""
    runs = [run for variant in variants for run in variant.runs]
    ended = [run for run in runs if run.complete] or runs
    told = [
        _agreed(runs, lambda run: _of_recipe(run, "task.name")),
        _agreed(runs, lambda run: _of_recipe(run, "model.name")),
        _agreed([run for run in runs if run.result and run.result.parameters], _parameters),
        _agreed(runs, _data),
        _agreed(runs, _stages),
        _agreed(ended, lambda run: f"{run.steps:,} steps" if run.complete else None),
        _agreed(ended, _units),
        _agreed(runs, lambda run: run.environment.get("device")),
    ]
    return [fact for fact in told if fact]


def _agreed(runs: Sequence[RunRecord], tell: Callable[[RunRecord], str | None]) -> str | None:
    facts = {tell(run) for run in runs}
    return facts.pop() if len(facts) == 1 else None


def _of_recipe(run: RunRecord, key: str) -> str | None:
    recipe = flatten(run.recipe)
    return value_text(recipe[key]) if key in recipe else None


def _parameters(run: RunRecord) -> str | None:
    count = run.result.parameters if run.result else None
    return f"{_size(count)} parameters" if count else None


def _size(count: float) -> str:
    """A count of parameters or tokens as the field says it.

    >>> [_size(count) for count in (512, 35_936, 1_836_672, 999_999_999, 15e12)]
    ['512', '35.9k', '1.84M', '1.0B', '15T']
    """
    if not 1e4 <= count < math.inf:
        return compact(count)
    rounded = float(f"{count:.3g}")
    size, suffix = next((size, suffix) for size, suffix in _SIZES if rounded >= size)
    text = f"{rounded / size:.3g}"
    return f"{text}.0{suffix}" if len(text) == 1 else f"{text}{suffix}"


def _data(run: RunRecord) -> str | None:
    name = data_set(run)
    if name is None:
        return None
    return f"data: {name if len(name) <= _LONGEST else f'…{name[1 - _LONGEST :]}'}"


def _stages(run: RunRecord) -> str | None:
    count = len(stage_names(run.recipe))
    return f"{count} stages" if count else None


def _units(run: RunRecord) -> str | None:
    """Tokens, or what else the task counts, that the run was trained on."""
    if run.units is None:
        return None
    count, unit = run.units
    return f"{_size(count)} {unit} seen"
