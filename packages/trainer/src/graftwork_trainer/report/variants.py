"""Which runs belong together: those of one recipe and of the same data, over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graftwork_trainer.report.grounds import by_data
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.recipe_keys import canonical
from graftwork_trainer.report.variant_labels import label_variants
from graftwork_trainer.stage_folders import STAGES, stage_names


@dataclass(frozen=True, slots=True)
class Variant:
    """Runs of one recipe over seeds.

    Args:
        label: a short name, different from those of the other variants.
        runs: in order of their seeds.
        meaning: what the label stands for, where it is a letter or a directory's name; else empty.
    """

    label: str
    runs: tuple[RunRecord, ...]
    meaning: str = ""

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


def group_runs(records: Iterable[RunRecord]) -> list[Variant]:
    """Group runs into variants, in order of first appearance, runs in order of their seeds."""
    of_recipe: dict[str, list[RunRecord]] = {}
    for record in records:
        of_recipe.setdefault(_identity(record.recipe), []).append(record)
    groups = [group for records in of_recipe.values() for group in by_data(records)]
    ordered = [tuple(sorted(runs, key=_seed_order)) for runs in groups]
    labels = label_variants(ordered)
    return [Variant(label.text, runs, label.meaning) for label, runs in zip(labels, ordered, strict=True)]


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


def _seed_order(run: RunRecord) -> tuple[bool, float, str]:
    return (True, run.seed, "") if isinstance(run.seed, int | float) else (False, 0.0, str(run.seed))
