"""A table whose rows a reader sorts by a click on a heading, or by Tab and Enter.

The order is worked out here, not in the browser: every cell is written with its place in its column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from graftwork_trainer.page.templating import templates

Order = float | str | None
_Key = tuple[int, float, tuple[tuple[int, str], ...]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Args:
        text: what is shown, escaped unless it is :class:`markupsafe.Markup`.
        order: what it is sorted by: a number, a text, or None for a cell that stays at the end whichever way.
    """

    text: str
    order: Order


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings. Its ``__html__`` puts it into a template or a Markup as it is.

    Args:
        label: what it shows, for those who hear the page read.
        headings: of the columns.
        rows: a cell for every heading; a plain text is sorted as text.

    Raises:
        ValueError: there is no heading, or a row is shorter or longer than the headings.
    """

    label: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]

    def __post_init__(self) -> None:
        if not self.headings:
            raise ValueError(f"table {self.label!r}: needs at least one heading")
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.headings):
                raise ValueError(
                    f"table {self.label!r}: row {number} must have {len(self.headings)} cells, as there are "
                    f"headings, got {len(row)}"
                )

    def __html__(self) -> Markup:
        rows = [[cell if isinstance(cell, Cell) else Cell(cell, cell) for cell in row] for row in self.rows]
        columns = [[row[place].order for row in rows] for place in range(len(self.headings))]
        places = [ranks(column) for column in columns]
        template = templates("graftwork_trainer.page").get_template("table.html.jinja")
        html = template.render(
            label=self.label,
            columns=[(name, _numeric(column)) for name, column in zip(self.headings, columns, strict=True)],
            rows=[
                [(cell.text, places[column][line]) for column, cell in enumerate(row)]
                for line, row in enumerate(rows)
            ],
        )
        return Markup(html)


def ranks(orders: Sequence[Order]) -> list[int | None]:
    """Places in ascending order, from 0; equals share one, and what is missing has none.

    Numbers come before texts. Texts are compared without regard to case, the digits in them as numbers.

    >>> ranks([10.0, 9.0, None, 10.0, "run-10", "Run-9"])
    [1, 0, None, 1, 3, 2]
    """
    keys = [_key(order) for order in orders]
    place = {key: index for index, key in enumerate(sorted({key for key in keys if key is not None}))}
    return [None if key is None else place[key] for key in keys]


def _key(order: Order) -> _Key | None:
    if isinstance(order, str):
        parts = re.split(r"(\d+)", order.casefold())
        return (1, 0.0, tuple(map(_part, parts))) if order.strip() else None
    return None if order is None or math.isnan(order) else (0, order, ())


def _part(part: str) -> tuple[int, str]:
    """Digits by their count first, which orders them as numbers however many there are."""
    return (len(part.lstrip("0")), part.lstrip("0")) if part.isdecimal() else (0, part)


def _numeric(column: Sequence[Order]) -> bool:
    present = [order for order in column if order is not None]
    return bool(present) and not any(isinstance(order, str) for order in present)
