"""The page: everything that a reader needs to judge the runs, in one HTML file that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from graftwork.errors import GraftworkError
from graftwork_trainer.report.drawing import HUES
from graftwork_trainer.report.figures import inline_svg, plan_figures, write_png
from graftwork_trainer.report.headline import write_headline
from graftwork_trainer.report.numerals import LONG_TIMES, compact, number, unit_for
from graftwork_trainer.report.read import RunRecord, read_run
from graftwork_trainer.report.table import NOTHING, Row, Table, build_table
from graftwork_trainer.report.variants import Variant, differences, flatten, group_runs, value_text

_MOST_COLUMNS = 5
_MOST_COLUMNS_BESIDE = 2


@dataclass(frozen=True, slots=True)
class Report:
    """What was written: the page, and its figures as PNG files."""

    page: Path
    figures: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Fact:
    """One line of the environment; ``values`` has more than one entry where runs disagree."""

    name: str
    values: tuple[str, ...]


def write_report(runs: Sequence[Path], output: Path, *, title: str) -> Report:
    """Write ``report.html`` and ``plots/*.png`` into ``output``.

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
    variants = group_runs(map(read_run, directories))
    table = build_table(variants)
    plots = plan_figures(variants, table)
    folder = output / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    files = tuple(write_png(plot, folder) for plot in plots)
    drawn = [
        {"plot": plot, "wide": inline_svg(plot, narrow=False), "narrow": inline_svg(plot, narrow=True)}
        for plot in plots
    ]
    page = output / "report.html"
    page.write_text(_render(title, variants, table, drawn), encoding="utf-8")
    return Report(page, files)


def _render(title: str, variants: Sequence[Variant], table: Table, drawn: Sequence[Mapping[str, Any]]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("graftwork_trainer.report", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    leading = [figure for figure in drawn if figure["plot"].leading]
    beside = len(variants) <= _MOST_COLUMNS_BESIDE
    return environment.get_template("page.html.jinja").render(
        title=title,
        headline=write_headline(variants, table),
        subject=_subject(variants),
        table=table,
        sections=_sections(table),
        quantities_down=len(variants) <= _MOST_COLUMNS,
        beside=beside,
        first=leading[: 1 if beside else 2],
        leading=leading[1 if beside else 2 :],
        further=[figure for figure in drawn if not figure["plot"].leading],
        differences=differences(variants),
        variants=variants,
        runs=[_run_line(variant, run) for variant in variants for run in variant.runs],
        remarks=_remarks(variants),
        facts=_facts([run for variant in variants for run in variant.runs]),
        hues=HUES,
        nothing=NOTHING,
    )


def _sections(table: Table) -> list[tuple[str, list[Row]]]:
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
    steps = {run.steps for run in runs if run.complete}
    shared += [f"{steps.pop():,} steps"] if len(steps) == 1 else []
    devices = {str(run.environment.get("device")) for run in runs} - {"None"}
    shared += devices if len(devices) == 1 else []
    return shared


def _size(count: float) -> str:
    """A parameter count as the field says it: 1.84M."""
    return compact(count) if count < 1e4 else f"{count / 1e6:.3g}M" if count < 1e9 else f"{count / 1e9:.3g}B"


def _run_line(variant: Variant, run: RunRecord) -> dict[str, str]:
    wall = run.result.wall_seconds if run.result else None
    if wall is None:
        wall = max(
            (second for c in run.curves.values() for second in c.seconds if second == second), default=None
        )
    scale, unit = unit_for([wall] if wall is not None else [], LONG_TIMES)
    return {
        "variant": variant.label,
        "seed": NOTHING if run.seed is None else str(run.seed),
        "status": run.status,
        "reason": (run.result.reason or "") if run.result else "",
        "steps": f"{run.steps:,}",
        "wall": NOTHING if wall is None else f"{number(wall / scale)} {unit}",
        "folder": run.path.resolve().name,
    }


def _remarks(variants: Sequence[Variant]) -> list[str]:
    """What a reader must know before trusting a mean: runs left out of it, and seeds that count twice."""
    remarks = []
    for variant in variants:
        for run in variant.runs:
            if not run.complete:
                state = "failed" if run.status == "failed" else f"is {run.status}"
                left_out = ", and counts in no mean" if variant.complete_runs else ""
                reason = f": {run.result.reason.rstrip('.')}" if run.result and run.result.reason else ""
                remarks.append(
                    f"{variant.label}, seed {run.seed}, {state} at step {run.steps}{left_out}{reason}."
                )
        seeds = [str(run.seed) for run in variant.runs]
        for seed in sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            remarks.append(
                f"{variant.label}: {seeds.count(seed)} runs share the seed {seed}, each counts by itself."
            )
    return remarks


def _facts(runs: Iterable[RunRecord]) -> list[_Fact]:
    """The environment, a line a fact; ``started`` differs by nature and is told as a range."""
    found: dict[str, list[str]] = {}
    started = []
    for run in runs:
        for key, value in _flat_environment(run.environment).items():
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
