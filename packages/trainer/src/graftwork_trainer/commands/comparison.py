"""The runs of a comparison: every combination of values with every seed, resolved before the first trains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from graftwork import GraftworkError, Override, load_recipe
from graftwork.errors import Mistakes
from graftwork.overrides import product
from graftwork.recipe_file import read_toml
from graftwork.resolution import Resolved
from graftwork_trainer.claim import new_directory
from graftwork_trainer.commands.variant_names import variant_names
from graftwork_trainer.option_mistakes import ranges_told
from graftwork_trainer.report import read_run
from graftwork_trainer.report.recipe_keys import UNSET, canonical, flatten, value_text
from graftwork_trainer.stage_folders import STAGES


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a comparison.

    Args:
        name: of its directory.
        variant: the values that distinguish it, and where they were said.
        resolved: its recipe.
        directory: of the run.
    """

    name: str
    variant: str
    resolved: Resolved
    directory: Path

    @property
    def begun(self) -> bool:
        """Whether an earlier call of the same comparison began it."""
        return (self.directory / "recipe.toml").exists()

    @property
    def finished(self) -> bool:
        """Whether it ended by itself in an earlier call."""
        return (self.directory / "result.json").exists() and read_run(self.directory).complete


def plan(
    recipe: str,
    overs: Sequence[str],
    base: Sequence[Override],
    *,
    seeds: int,
    out: Path | None,
    option: str = "--over",
) -> list[Job]:
    """Resolve all runs, so that a mistake in the last costs nothing.

    Args:
        recipe: name or file.
        overs: ``KEY=A,B`` each.
        base: put over the recipe's values in every variant.
        seeds: runs of each variant, with consecutive seeds from the recipe's on.
        out: directory of the comparison; None for a new one.
        option: where ``overs`` stand, for messages.

    Raises:
        GraftworkError: a key or a run is given twice, or a run's directory holds one of another recipe.
        RecipeError: a variant's mistakes.
    """
    mistakes = Mistakes()
    variants: list[list[Override]] = []
    with mistakes.noted():
        variants = product(overs, option=option)
    resolved: list[Resolved] = []
    # Where what varies is not known, what all share is checked all the same.
    for variant in variants or [[]]:
        with mistakes.noted(), ranges_told():
            resolved.append(load_recipe(recipe, [*base, *variant]).resolve())
    mistakes.refuse(recipe)
    out = out or new_directory(f"{resolved[0].name}-compare")
    jobs = []
    for variant, name, first in zip(variants, variant_names(variants), resolved, strict=True):
        said = " ".join(override.origin for override in variant)
        first_seed = _seed_of(first)
        for seed in range(first_seed, first_seed + seeds):
            later = _later_seeds(first, seed - first_seed)
            run = load_recipe(recipe, [*base, *variant, *later]).resolve()
            jobs.append(Job(f"{name}-seed{seed}", said, run, out / f"{name}-seed{seed}"))
    _refuse_repeated_runs(jobs)
    for job in jobs:
        _refuse_another_recipe(job)
    return jobs


def _seed_of(resolved: Resolved) -> int:
    """Of the training, or of the first of its stages."""
    first = resolved.stages[0] if resolved.stages else resolved
    return int(first.sections["trainer"].get("seed", 0))


def _later_seeds(resolved: Resolved, by: int) -> list[Override]:
    """What makes every seed of a recipe a later one."""
    if not resolved.stages:
        return [Override(("trainer", "seed"), _seed_of(resolved) + by, "--seeds")]
    return [
        Override((STAGES, stage.name, "trainer", "seed"), _seed_of(stage) + by, "--seeds")
        for stage in resolved.stages
    ]


def _refuse_repeated_runs(jobs: Iterable[Job]) -> None:
    """Values may be written in two ways, and a recipe with its seed is one run."""
    known: dict[str, Job] = {}
    for job in jobs:
        first = known.setdefault(canonical(job.resolved.sections), job)
        if first is not job:
            same = "is given twice" if first.variant == job.variant else f"is the same as {first.variant}"
            seed = _seed_of(job.resolved)
            raise GraftworkError(f"{job.variant} {same}, with seed {seed}: give each value once")


def _refuse_another_recipe(job: Job) -> None:
    """A directory may be used again only for the very same run."""
    if not job.begun:
        return
    file = job.directory / "recipe.toml"
    try:
        found = read_toml(file)
    except GraftworkError as error:
        raise GraftworkError(f"{error}; the run is damaged, move it away to train it anew") from error
    if canonical(found) == canonical(job.resolved.sections):
        return
    there, here = flatten(found), flatten(job.resolved.sections)
    changed = [
        f"{key} = {value_text(there.get(key, UNSET))} there, {value_text(here.get(key, UNSET))} here"
        for key in [*there, *here]
        if (key in there, canonical(there.get(key))) != (key in here, canonical(here.get(key)))
    ]
    raise GraftworkError(
        f"--out {job.directory.parent}: {job.name} was trained there with another recipe "
        f"({changed[0] if changed else 'or seed'}); choose another --out"
    )
