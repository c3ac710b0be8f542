"""The learning rates of a variant, in a few characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.recipe_keys import flatten, is_rate, value_text
from graftwork_trainer.report.variants import Variant


def rates_text(variant: Variant) -> str:
    """``lr=0.01``, or ``lr=0.01, 0.0025 on 28 of 39 tensors``; empty where no rate is known.

    The first is the recipe's. That others move by another one, an optimizer says in the run's environment.
    """
    run = variant.runs[0].ended_with
    recipe = flatten(run.recipe)
    given = next((recipe[key] for key in recipe if _is_the_optimizers(key)), None)
    recorded = sorted(_recorded(run), key=lambda one: (one[0] != given, -one[0]))
    if given is None and recorded:
        given = recorded[0][0]
    if given is None:
        return ""
    total = sum(tensors for _, tensors in recorded)
    told = [f"{rate:g} on {tensors} of {total} tensors" for rate, tensors in recorded[1:]]
    return ", ".join([f"lr={value_text(given)}", *told])


def rates_differ(variants: Sequence[Variant]) -> bool:
    """Whether a sentence about the variants should say by which rates they were trained."""
    return len({rates_text(variant) for variant in variants}) > 1


def _is_the_optimizers(key: str) -> bool:
    return key.startswith("optimizer.") and key.count(".") == 1 and is_rate(key)


def _recorded(run: RunRecord) -> list[tuple[float, int]]:
    """Rates, and how many tensors moved by each; empty where the run does not say."""
    found = run.environment.get("learning_rates")
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    pairs = [(row.get("rate"), row.get("tensors")) for row in rows]
    return [
        (rate, count) for rate, count in pairs if isinstance(rate, float | int) and isinstance(count, int)
    ]
