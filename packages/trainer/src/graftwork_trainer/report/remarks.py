"""What a reader must know before trusting a mean or an order."""

from __future__ import annotations

from collections.abc import Sequence

from graftwork_trainer.report.directions import Directions
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.recipe_keys import value_text
from graftwork_trainer.report.variants import Variant

_MOST = 12


def remarks_on(variants: Sequence[Variant], directions: Directions) -> list[str]:
    """Sentences on what is not settled, at most a dozen and one that says how many more there are.

    Metrics whose direction is not settled, runs left out of means or changed on the way, and seeds that count
    twice.
    """
    remarks = directions.remarks()
    if any(run.stages for variant in variants for run in variant.runs):
        remarks.append(
            "Of a run with stages, final metrics and the cost of a step are its last stage's; wall time is "
            "that of all."
        )
    for variant in variants:
        for run in variant.runs:
            remarks += _on_run(variant, run)
        seeds = [str(run.seed) for run in variant.runs]
        for seed in sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            remarks.append(
                f"{variant.label}: {seeds.count(seed)} runs share the seed {seed}, each counts by itself."
            )
    if len(remarks) > _MOST + 1:
        remarks[_MOST:] = [f"{len(remarks) - _MOST} more remarks are left out here."]
    return remarks


def _on_run(variant: Variant, run: RunRecord) -> list[str]:
    """How it ended, where that was not its end, and what was changed on the way."""
    remarks = []
    if not run.complete:
        state = "failed" if run.status == "failed" else f"is {run.status}"
        left_out = ", and counts in no mean" if variant.complete_runs else ""
        reason = f": {run.result.reason.rstrip('.')}" if run.result and run.result.reason else ""
        remarks.append(f"{variant.label}, seed {run.seed}, {state} at step {run.steps}{left_out}{reason}.")
    changes: dict[int, list[str]] = {}
    for change in run.history:
        told = f"{change.what} = {value_text(change.after)} ({value_text(change.before)} before)"
        changes.setdefault(change.step, []).append(told)
    remarks += [
        f"{variant.label}, seed {run.seed}, went on from step {step} with {', '.join(of_step)}."
        for step, of_step in changes.items()
    ]
    return remarks
