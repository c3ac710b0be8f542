"""The table in the terminal: quantities down and variants across, turned round where that is too wide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.table import Cell, Row, Table, build_table
from graftwork_trainer.report.variants import Variant, group_runs

if TYPE_CHECKING:
    from rich.console import Console

_BEST = "*"
_GAP = 2
_WIDEST_LABEL = 26
_ONE_LINE_HEADING = 13
_ARROWS = {"lower": " ↓", "higher": " ↑", None: ""}
_ASCII = str.maketrans({"±": "+-", "µ": "u", "…": "~", "\u00a0": " ", "↓": "(low)", "↑": "(high)"})

Lines = list[list[str]]


def print_table(runs: Sequence[Variant] | Sequence[RunRecord], console: Console | None = None) -> None:
    """Print the table of runs or of variants, to standard output unless a console is given."""
    from rich.console import Console

    render_table(runs, console or Console())


def render_table(runs: Sequence[Variant] | Sequence[RunRecord], console: Console) -> None:
    """Write the table to ``console``, within its width.

    The best value of a row carries an asterisk. A console that cannot encode ``±`` gets ASCII.
    """
    table = build_table(as_variants(runs))
    write = str if console.encoding.lower().startswith("utf") else _ascii
    lines = _with_quantities_down(table, write)
    blocks = [lines] if _width(lines) <= console.width else _with_variants_down(table, write, console.width)
    headings = 1 if blocks[0] is lines else 2
    for index, block in enumerate(blocks):
        if index:
            console.print()
        _print_block(block, console, headings)
    if footnote := write(_footnote(table)):
        console.print()
        console.print(footnote, style="dim", markup=False, highlight=False)


def as_variants(runs: Sequence[Variant] | Sequence[RunRecord]) -> list[Variant]:
    """Variants as they are, records grouped."""
    variants = [run for run in runs if isinstance(run, Variant)]
    return variants or group_runs([run for run in runs if isinstance(run, RunRecord)])


def _ascii(text: str) -> str:
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def _with_quantities_down(table: Table, write: Callable[[str], str]) -> Lines:
    """A line of one cell is a section's name."""
    lines = [["", *map(write, table.labels)], ["runs", *map(write, table.progress)]]
    section = ""
    for row in table.rows:
        if row.section != section:
            section = row.section
            lines.append([write(section)])
        lines.append([write(f"  {_heading(row)}"), *(write(_text(cell)) for cell in row.cells)])
    return lines


def _with_variants_down(table: Table, write: Callable[[str], str], width: int) -> list[Lines]:
    """One line a variant; as many blocks of columns as the width asks for, the labels repeated in each."""
    longest = min(_WIDEST_LABEL, width // 3)
    labels = ["", "", *(write(_cut(label, longest)) for label in table.labels)]
    columns = [["", "runs", *map(write, table.progress)]]
    columns += [
        [*_in_two_lines(write(_heading(row))), *(write(_text(cell)) for cell in row.cells)]
        for row in table.rows
    ]
    blocks: list[Lines] = []
    taken: Lines = []
    for column in columns:
        if taken and _width(_transposed([labels, *taken, column])) > width:
            blocks.append(_transposed([labels, *taken]))
            taken = []
        taken.append(column)
    return [*blocks, _transposed([labels, *taken])]


def _transposed(columns: Lines) -> Lines:
    return [list(line) for line in zip(*columns, strict=True)]


def _heading(row: Row) -> str:
    return f"{row.heading}{_ARROWS[row.better]}" if row.section != "cost" else row.heading


def _in_two_lines(heading: str) -> tuple[str, str]:
    """Break a heading where both lines come out shortest; a short one keeps to the lower line."""
    words = heading.split(" ")
    breaks = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))]
    if len(heading) <= _ONE_LINE_HEADING or not breaks:
        return "", heading
    return min(breaks, key=lambda lines: max(map(len, lines)))


def _text(cell: Cell) -> str:
    return f"{cell.text} {_BEST if cell.best else ' '}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _column_widths(lines: Lines) -> list[int]:
    full = [line for line in lines if len(line) > 1]
    return [max(map(len, column)) for column in zip(*full, strict=True)]


def _width(lines: Lines) -> int:
    widths = _column_widths(lines)
    return sum(widths) + _GAP * (len(widths) - 1)


def _print_block(lines: Lines, console: Console, headings: int) -> None:
    from rich.text import Text

    widths = _column_widths(lines)
    for index, (first, *rest) in enumerate(lines):
        text = Text(first.ljust(widths[0]), style="" if rest else "dim")
        for content, width in zip(rest, widths[1:], strict=False):
            best = content.endswith(_BEST)
            text.append(" " * _GAP + content.rjust(width), style="bold" if index < headings or best else "")
        text.rstrip()
        if not text.plain:
            continue
        console.print(text, no_wrap=True, overflow="ellipsis")
        if index == headings - 1:
            console.print("-" * _width(lines), style="dim", highlight=False)


def _footnote(table: Table) -> str:
    cells = [cell for row in table.rows for cell in row.cells if cell.summary]
    parts = []
    if any(cell.best for cell in cells):
        parts.append(f"{_BEST} best of its kind")
    if any(cell.summary and cell.summary.count > 1 for cell in cells):
        parts.append("mean ± standard deviation over seeds")
    if any(not cell.final for cell in cells):
        parts.append("unfinished or failed: values so far")
    return "; ".join(parts)
