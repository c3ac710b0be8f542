"""The table of every single run: how it ended, how long it took, where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from graftwork.readable import readable
from graftwork_trainer import page
from graftwork_trainer.model_folder.manifest import CARD, FOLDER
from graftwork_trainer.report.artefacts import address_of
from graftwork_trainer.report.numerals import LONG_TIMES, number, unit_for
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.table import NOTHING
from graftwork_trainer.report.variants import Variant
from graftwork_trainer.stage_folders import stage_folders, stage_names_in

_HEADINGS = ("variant", "seed", "status", "steps", "wall time", "directory")


def table_of_runs(variants: Sequence[Variant], output: Path) -> page.Table:
    """A row for every run; links to model cards start from the folder of the report, ``output``."""
    rows = [_row(variant, run, output) for variant in variants for run in variant.runs]
    return page.Table("Every run", _HEADINGS, rows)


def _row(variant: Variant, run: RunRecord, output: Path) -> list[page.Cell | str]:
    wall = run.result.wall_seconds if run.result else None
    if wall is None:
        wall = max(
            (second for c in run.curves.values() for second in c.seconds if second == second), default=None
        )
    scale, unit = unit_for([wall] if wall is not None else [], LONG_TIMES)
    reason = run.result.reason if run.result else None
    seed = run.seed if isinstance(run.seed, int | float | None) else str(run.seed)
    folder = readable(run.path.resolve().name)
    return [
        variant.label,
        page.Cell(NOTHING if seed is None else str(seed), seed),
        f"{run.status}: {reason}" if reason else run.status,
        page.Cell(f"{run.steps:,}", run.steps),
        page.Cell(NOTHING if wall is None else f"{number(wall / scale)} {unit}", wall),
        page.Cell(Markup("<code>{}</code>{}").format(folder, _model_card(run.path, output)), folder),
    ]


def _model_card(run: Path, output: Path) -> Markup:
    """A link to the card of a run's model, of several stages' last one; nothing where there is none yet."""
    (*_, last) = [run, *stage_folders(run, stage_names_in(run))]
    card = last / FOLDER / CARD
    if not card.is_file():
        return Markup("")
    return Markup(' <a href="{}">model card</a>').format(address_of(card, output))
