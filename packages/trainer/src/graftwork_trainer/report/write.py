"""The report: everything that a reader needs to judge the runs, in one HTML file that loads nothing.

Figures need matplotlib, which is an extra; without it the page says so, and has everything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from graftwork.errors import GraftworkError
from graftwork.extras import Extra
from graftwork_trainer import page
from graftwork_trainer.model_folder.manifest import CARD, FOLDER
from graftwork_trainer.page.templating import templates
from graftwork_trainer.report.artefacts import address_of, collect_artefacts
from graftwork_trainer.report.directions import Directions
from graftwork_trainer.report.headline import write_headline
from graftwork_trainer.report.numerals import LONG_TIMES, compact, number, unit_for
from graftwork_trainer.report.read import RunRecord, read_run
from graftwork_trainer.report.stage_table import stage_tables
from graftwork_trainer.report.stages import aligned
from graftwork_trainer.report.table import NOTHING, ResultRow, ResultTable, build_table
from graftwork_trainer.report.variants import Variant, differences, flatten, group_runs, value_text
from graftwork_trainer.stage_folders import stage_folders, stage_names, stage_names_in

_PACKAGE = "graftwork_trainer.report"
_FIGURES = Extra("graftwork-trainer[report]", ("matplotlib",))
_MOST_COLUMNS = 5
_MOST_COLUMNS_BESIDE = 2
_TOLD_ELSEWHERE = frozenset({"metric_directions"})


@dataclass(frozen=True, slots=True)
class Report:
    """What was written: the page, and its figures as PNG files; none without matplotlib."""

    page: Path
    figures: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Fact:
    """One line of the environment; ``values`` has more than one entry where runs disagree."""

    name: str
    values: tuple[str, ...]


def write_report(runs: Sequence[Path], output: Path, *, title: str) -> Report:
    """Write ``report.html`` and, where matplotlib is installed, ``plots/*.png`` into ``output``.

    Args:
        runs: run directories, of one recipe or of several, over seeds; unfinished and failed ones too.
        output: a folder, made where it is missing.
        title: the page's title.

    Raises:
        GraftworkError: where no run is given, or a directory is none.
    """
    directories = list({Path(run).resolve(): Path(run) for run in runs}.values())
    if not directories:
        raise GraftworkError("a report needs at least one run directory, got none")
    variants = aligned(group_runs(map(read_run, directories)))
    table = build_table(variants)
    output.mkdir(parents=True, exist_ok=True)
    drawn, files = ([], ()) if _FIGURES.missing else _draw(variants, table, output / "plots")
    file = output / "report.html"
    body = _body(title, variants, table, drawn, output)
    page.write_page(
        file, body, title=title, styles=(resources.files(_PACKAGE) / "report.css").read_text("utf-8")
    )
    return Report(file, files)


def _draw(
    variants: Sequence[Variant], table: ResultTable, folder: Path
) -> tuple[list[dict[str, Any]], tuple[Path, ...]]:
    """Every figure for the page, and as a file."""
    from graftwork_trainer.report.figures import inline_svg, plan_figures, write_png

    plots = plan_figures(variants, table)
    folder.mkdir(exist_ok=True)
    files = tuple(write_png(plot, folder) for plot in plots)
    drawn = [
        {"plot": plot, "wide": inline_svg(plot, narrow=False), "narrow": inline_svg(plot, narrow=True)}
        for plot in plots
    ]
    return drawn, files


def _body(
    title: str,
    variants: Sequence[Variant],
    table: ResultTable,
    drawn: Sequence[Mapping[str, Any]],
    output: Path,
) -> Markup:
    leading = [figure for figure in drawn if figure["plot"].leading]
    beside = len(variants) <= _MOST_COLUMNS_BESIDE
    body = (
        templates(_PACKAGE)
        .get_template("report.html.jinja")
        .render(
            title=title,
            headline=write_headline(variants, table),
            subject=_subject(variants),
            table=table,
            sections=_sections(table),
            quantities_down=len(variants) <= _MOST_COLUMNS,
            beside=beside,
            to_install=_FIGURES.requirement if _FIGURES.missing else "",
            first=leading[: 1 if beside else 2],
            leading=leading[1 if beside else 2 :],
            artefacts=collect_artefacts(variants, output),
            further=[figure for figure in drawn if not figure["plot"].leading],
            stages=stage_tables(variants),
            differences=differences(variants),
            variants=variants,
            runs=_every_run(variants, output),
            remarks=_remarks(variants, table.directions),
            facts=_facts([run for variant in variants for run in variant.runs]),
            hues=page.HUES,
        )
    )
    return Markup(body)


def _sections(table: ResultTable) -> list[tuple[str, list[ResultRow]]]:
    return [(section, list(rows)) for section, rows in groupby(table.rows, key=lambda row: row.section)]


def _subject(variants: Sequence[Variant]) -> list[str]:
    """What all runs share: task, model, its size, steps, device."""
    recipes = [flatten(variant.recipe) for variant in variants]
    runs = [run for variant in variants for run in variant.runs]
    shared: list[str] = []
    for key in ("task.name", "model.name"):
        names = {value_text(recipe[key]) for recipe in recipes if key in recipe}
        shared += names if len(names) == 1 else []
    sizes = {run.result.parameters for run in runs if run.result and run.result.parameters}
    shared += [f"{_size(sizes.pop())} parameters"] if len(sizes) == 1 else []
    counts = {len(stage_names(variant.recipe)) for variant in variants}
    shared += [f"{counts.pop()} stages"] if len(counts) == 1 and counts != {0} else []
    steps = {run.steps for run in runs if run.complete}
    shared += [f"{steps.pop():,} steps"] if len(steps) == 1 else []
    devices = {str(run.environment.get("device")) for run in runs} - {"None"}
    shared += devices if len(devices) == 1 else []
    return shared


def _size(count: float) -> str:
    """A parameter count as the field says it: 1.84M."""
    return compact(count) if count < 1e4 else f"{count / 1e6:.3g}M" if count < 1e9 else f"{count / 1e9:.3g}B"


def _every_run(variants: Sequence[Variant], output: Path) -> page.Table:
    headings = ("variant", "seed", "status", "steps", "wall time", "directory")
    return page.Table(
        "Every run",
        headings,
        [_run_row(variant, run, output) for variant in variants for run in variant.runs],
    )


def _run_row(variant: Variant, run: RunRecord, output: Path) -> list[page.Cell | str]:
    wall = run.result.wall_seconds if run.result else None
    if wall is None:
        wall = max(
            (second for c in run.curves.values() for second in c.seconds if second == second), default=None
        )
    scale, unit = unit_for([wall] if wall is not None else [], LONG_TIMES)
    reason = run.result.reason if run.result else None
    seed = run.seed if isinstance(run.seed, int | float | None) else str(run.seed)
    folder = run.path.resolve().name
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


def _remarks(variants: Sequence[Variant], directions: Directions) -> list[str]:
    """What a reader must know before trusting a mean or an order.

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
            if not run.complete:
                state = "failed" if run.status == "failed" else f"is {run.status}"
                left_out = ", and counts in no mean" if variant.complete_runs else ""
                reason = f": {run.result.reason.rstrip('.')}" if run.result and run.result.reason else ""
                remarks.append(
                    f"{variant.label}, seed {run.seed}, {state} at step {run.steps}{left_out}{reason}."
                )
            remarks += [
                f"{variant.label}, seed {run.seed}, went on from step {step} with {', '.join(changes)}."
                for step, changes in _changes_by_step(run).items()
            ]
        seeds = [str(run.seed) for run in variant.runs]
        for seed in sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            remarks.append(
                f"{variant.label}: {seeds.count(seed)} runs share the seed {seed}, each counts by itself."
            )
    return remarks


def _changes_by_step(run: RunRecord) -> dict[int, list[str]]:
    by_step: dict[int, list[str]] = {}
    for change in run.history:
        told = f"{change.what} = {value_text(change.after)} ({value_text(change.before)} before)"
        by_step.setdefault(change.step, []).append(told)
    return by_step


def _facts(runs: Iterable[RunRecord]) -> list[_Fact]:
    """The environment, a line a fact; ``started`` differs by nature and is told as a range."""
    found: dict[str, list[str]] = {}
    started = []
    for run in runs:
        told = {key: value for key, value in run.environment.items() if key not in _TOLD_ELSEWHERE}
        for key, value in _flat_environment(told).items():
            if key == "started":
                started.append(value)
            elif value not in found.setdefault(key, []):
                found[key].append(value)
    facts = [_Fact(name, tuple(values)) for name, values in found.items()]
    if started:
        first, last = min(started), max(started)
        facts.append(_Fact("started", (first if first == last else f"{first} to {last}",)))
    return facts


def _flat_environment(environment: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in environment.items():
        name = f"{prefix}{key.replace('_', ' ')}" if not prefix else f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat_environment(value, "" if key == "packages" else f"{name}: ")
        elif value is not None:
            flat[name] = value if isinstance(value, str) else json.dumps(value)
    return flat
