"""The report: everything that a reader needs to judge the runs, in one HTML file that loads nothing.

Figures need matplotlib, which is an extra; without it the page says so, and has everything else.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from graftwork.errors import GraftworkError
from graftwork.extras import Extra
from graftwork.readable import readable
from graftwork_trainer import page
from graftwork_trainer.causes import cause_of
from graftwork_trainer.page.templating import templates
from graftwork_trainer.report.artefacts import collect_artefacts
from graftwork_trainer.report.differences import differences
from graftwork_trainer.report.every_run import table_of_runs
from graftwork_trainer.report.facts import environment_of, origin_of
from graftwork_trainer.report.head import shared_facts
from graftwork_trainer.report.headline import write_headline
from graftwork_trainer.report.palette import Palette, choose_palette
from graftwork_trainer.report.read import RunRecord, read_run
from graftwork_trainer.report.remarks import remarks_on
from graftwork_trainer.report.stage_table import stage_tables
from graftwork_trainer.report.stages import aligned
from graftwork_trainer.report.table import ResultRow, ResultTable, build_table
from graftwork_trainer.report.variants import Variant, group_runs

if TYPE_CHECKING:
    from graftwork_trainer.report.drawing import Exhibit

_PACKAGE = "graftwork_trainer.report"
_FIGURES = Extra("graftwork-trainer[report]", ("matplotlib",))
_MOST_COLUMNS = 5
_MOST_COLUMNS_BESIDE = 2
_LEADING = 2
_PAGE, _PLOTS, _DRAFT = "report.html", "plots", "report.partial"


@dataclass(frozen=True, slots=True)
class Report:
    """What was written: the page, and its figures as PNG files; none without matplotlib."""

    page: Path
    figures: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A place of the page with its figures: of each its axis, its SVG wide and narrow, and its note.

    ``wide`` is empty where the narrow one serves everybody.
    """

    name: str
    title: str
    leading: bool
    figures: tuple[tuple[str, str, str, str], ...]


def write_report(runs: Sequence[Path | RunRecord], output: Path, *, title: str) -> Report:
    """Write ``report.html`` and, where matplotlib is installed, ``plots/*.png`` into ``output``, or nothing.

    Args:
        runs: run directories, or what was read of them, of one recipe or of several, over seeds; unfinished
            and failed ones too.
        output: a folder, made where it is missing.
        title: the page's title.

    Raises:
        GraftworkError: where no run is given, or a directory is none; where the system refuses a file, and
            then an earlier page lies there still.
    """
    records = {_path_of(run).resolve(): run for run in runs}.values()
    if not records:
        raise GraftworkError("a report needs at least one run directory, got none")
    title = readable(title)
    variants = aligned(group_runs(run if isinstance(run, RunRecord) else read_run(run) for run in records))
    table = build_table(variants)
    palette = choose_palette(table)
    styles = (resources.files(_PACKAGE) / "report.css").read_text("utf-8")
    draft = output / _DRAFT
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        drawn, files = ([], ()) if _FIGURES.missing else _draw(variants, table, palette, draft / _PLOTS)
        body = _body(title, variants, table, palette, drawn, output)
        page.write_page(draft / _PAGE, body, title=title, styles=styles)
        return _put_in_place(draft, files, output)
    except OSError as error:
        raise _not_written(output, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put_in_place(draft: Path, files: Sequence[Path], output: Path) -> Report:
    """Rename what is written, for which no disk is too full; the page, which shows all of it, at last."""
    if files:
        (output / _PLOTS).mkdir(exist_ok=True)
    figures = tuple(file.replace(output / _PLOTS / file.name) for file in files)
    return Report((draft / _PAGE).replace(output / _PAGE), figures)


def _not_written(output: Path, error: OSError) -> GraftworkError:
    cause = cause_of(error).replace(f"{output / _DRAFT}/", f"{output}/")
    there = next(place for place in (output, *output.resolve().parents) if place.is_dir())
    free = shutil.disk_usage(there).free / 1e6
    return GraftworkError(
        f"report {output}: not written: {cause}; {free:,.1f} MB are free there, and a page that lay there "
        "before is untouched"
    )


def _path_of(run: Path | RunRecord) -> Path:
    return run.path if isinstance(run, RunRecord) else Path(run)


def _draw(
    variants: Sequence[Variant], table: ResultTable, palette: Palette, folder: Path
) -> tuple[list[_Drawn], tuple[Path, ...]]:
    """Every figure for the page, and as a file."""
    from graftwork_trainer.report.figures import plan_figures
    from graftwork_trainer.report.rendering import write_png

    exhibits = plan_figures(variants, table, palette)
    folder.mkdir(exist_ok=True)
    files = tuple(write_png(plot, folder) for exhibit in exhibits for plot in exhibit.plots)
    return list(map(_for_page, exhibits)), files


def _for_page(exhibit: Exhibit) -> _Drawn:
    """Leading figures are large on a desk and small on a phone; the others are small everywhere."""
    from graftwork_trainer.report.rendering import inline_svg

    figures = tuple(
        (
            plot.against,
            inline_svg(plot, narrow=False, values=True) if exhibit.leading else "",
            inline_svg(plot, narrow=True, values=not exhibit.leading),
            plot.note,
        )
        for plot in exhibit.plots
    )
    return _Drawn(exhibit.plots[0].name, exhibit.title, exhibit.leading, figures)


def _body(
    title: str,
    variants: Sequence[Variant],
    table: ResultTable,
    palette: Palette,
    drawn: Sequence[_Drawn],
    output: Path,
) -> Markup:
    leading = [figure for figure in drawn if figure.leading]
    beside = len(variants) <= _MOST_COLUMNS_BESIDE
    headline = write_headline(variants, table)
    runs = [run for variant in variants for run in variant.runs]
    body = (
        templates(_PACKAGE)
        .get_template("report.html.jinja")
        .render(
            title=title,
            headline=headline,
            # What the banner says is not said twice.
            qualifier=headline.qualifier.removeprefix(table.not_ranked).strip(),
            shared=shared_facts(variants),
            table=table,
            sections=_sections(table),
            quantities_down=len(variants) <= _MOST_COLUMNS,
            beside=beside,
            to_install=_FIGURES.requirement if _FIGURES.missing else "",
            first=leading[:_LEADING],
            leading=leading[_LEADING:],
            artefacts=collect_artefacts(variants, output),
            further=[figure for figure in drawn if not figure.leading],
            stages=stage_tables(variants),
            differences=differences(variants),
            labels_are_short=any(variant.meaning for variant in variants),
            variants=variants,
            colours=[style.css for style in palette.styles],
            runs=table_of_runs(variants, output),
            remarks=remarks_on(variants, table.directions),
            origin=origin_of(runs),
            environment=environment_of(runs),
        )
    )
    return Markup(body)


def _sections(table: ResultTable) -> list[tuple[str, list[ResultRow]]]:
    return [(section, list(rows)) for section, rows in groupby(table.rows, key=lambda row: row.section)]
