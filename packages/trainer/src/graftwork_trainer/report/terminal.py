"""The table in the terminal: quantities down and variants across, turned round where that is too wide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import TextIO

from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.short_names import short_names
from graftwork_trainer.report.table import ResultCell, ResultRow, ResultTable, build_table
from graftwork_trainer.report.variants import Variant, group_runs
from graftwork_trainer.screen import STANDS_OUT, Line, Screen, Style, columns_width

_WIDEST_LABEL = 26
_ONE_LINE_HEADING = 13
_ARROWS = {"lower": " ↓", "higher": " ↑", None: ""}


def print_table(
    runs: Sequence[Variant] | Sequence[RunRecord], file: TextIO | None = None, width: int | None = None
) -> None:
    """Print the table of runs or of variants.

    The best value of a row carries an asterisk; above runs that are not ranked stands why. A file that cannot
    encode ``±`` gets ASCII.

    Args:
        runs: grouped into variants, or as they were read.
        file: standard output where none is given.
        width: to stay within, in characters; the terminal's where none is given.
    """
    screen = Screen(file, width)
    variants = _as_variants(runs)
    table = build_table(variants)
    if table.not_ranked:
        _write_wrapped(screen, table.not_ranked)
        screen.write()
    lines = _with_quantities_down(table, screen.spell)
    if columns_width(lines) <= screen.width:
        screen.columns(lines)
    else:
        for index, block in enumerate(_with_variants_down(table, screen.spell, screen.width)):
            if index:
                screen.write()
            screen.columns(block, headings=2)
    if footnote := _footnote(table):
        screen.write()
        _write_wrapped(screen, footnote, "dim")
    meanings = [f"{variant.label}: {variant.meaning}" for variant in variants if variant.meaning]
    if meanings:
        screen.write()
    for meaning in meanings:
        _write_wrapped(screen, meaning, "dim")


def _write_wrapped(screen: Screen, text: str, style: Style = "") -> None:
    for line in wrap(screen.spell(text), screen.width, subsequent_indent="  "):
        screen.write(line, style)


def _as_variants(runs: Sequence[Variant] | Sequence[RunRecord]) -> list[Variant]:
    """Variants as they are, records grouped."""
    variants = [run for run in runs if isinstance(run, Variant)]
    return variants or group_runs([run for run in runs if isinstance(run, RunRecord)])


def _with_quantities_down(table: ResultTable, write: Callable[[str], str]) -> list[Line]:
    """A line of one cell is a section's name."""
    lines = [["", *map(write, table.labels)], ["runs", *map(write, table.progress)]]
    section = ""
    for row in table.rows:
        if row.section != section:
            section = row.section
            lines.append([write(section)])
        lines.append([write(f"  {_heading(row)}"), *(write(_text(cell)) for cell in row.cells)])
    return lines


def _with_variants_down(table: ResultTable, write: Callable[[str], str], width: int) -> list[list[Line]]:
    """One line a variant; as many blocks of columns as the width asks for, the labels repeated in each."""
    longest = min(_WIDEST_LABEL, width // 3)
    labels = ["", "", *map(write, short_names(table.labels, longest))]
    columns = [["", "runs", *map(write, table.progress)]]
    # Where no line above says of which part of the data a metric is, one that two parts have says it itself.
    shared = Counter(row.title for row in table.rows if not row.paired)
    columns += [
        [
            *_in_two_lines(write(_heading(row, of_part=shared[row.title] > 1))),
            *(write(_text(cell)) for cell in row.cells),
        ]
        for row in table.rows
    ]
    blocks: list[list[Line]] = []
    taken: list[Line] = []
    for column in columns:
        if taken and columns_width(_transposed([labels, *taken, column])) > width:
            blocks.append(_transposed([labels, *taken]))
            taken = []
        taken.append(column)
    return [*blocks, _transposed([labels, *taken])]


def _transposed(columns: list[Line]) -> list[Line]:
    return [list(line) for line in zip(*columns, strict=True)]


def _heading(row: ResultRow, *, of_part: bool = False) -> str:
    part = f"{row.section} " if of_part else ""
    return f"{part}{row.heading}{_ARROWS[row.better]}"


def _in_two_lines(heading: str) -> tuple[str, str]:
    """Break a heading where both lines come out shortest; a short one keeps to the lower line."""
    words = heading.split(" ")
    breaks = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))]
    if len(heading) <= _ONE_LINE_HEADING or not breaks:
        return "", heading
    return min(breaks, key=lambda lines: max(map(len, lines)))


def _text(cell: ResultCell) -> str:
    return f"{cell.text} {STANDS_OUT if cell.best else ' '}"


def _footnote(table: ResultTable) -> str:
    cells = [cell for row in table.rows for cell in row.cells if cell.summary]
    parts = []
    if any(cell.best for cell in cells):
        parts.append(f"{STANDS_OUT} best of its kind")
    if any(cell.summary and cell.summary.count > 1 for cell in cells):
        parts.append("mean ± standard deviation over seeds")
    if table.paired_note:
        parts.append(table.paired_note)
    if any(not cell.final for cell in cells):
        parts.append("unfinished or failed: values so far")
    return "; ".join(parts)
