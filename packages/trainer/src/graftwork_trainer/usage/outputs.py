"""Predictions as CSV or JSON lines, written row by row: what was written stays when the rest fails."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from typing import Any, Literal, TextIO

from graftwork import GraftworkError
from graftwork_trainer.plain_json import to_json
from graftwork_trainer.usage.predicting import Predicted

Form = Literal["csv", "jsonl"]


class Rows:
    """Writes what was given and what was predicted, in one row.

    A prediction of the name of a column of the inputs is called ``predicted NAME``.

    Args:
        stream: to write to.
        form: of the rows.
    """

    def __init__(self, stream: TextIO, form: Form) -> None:
        self._stream, self._form = stream, form
        self._columns: list[str] = []

    def write(self, predicted: Predicted) -> None:
        """Write one.

        Raises:
            GraftworkError: it has other columns than the first; a table has the same in all rows.
        """
        one, prediction = predicted
        row = {**one.told, **{_free(name, one.told): value for name, value in prediction.items()}}
        if self._form == "jsonl":
            self._stream.write(to_json(row, indent=None))
            return
        if not self._columns:
            self._columns = list(row)
            csv.writer(self._stream).writerow(self._columns)
        if list(row) != self._columns:
            raise GraftworkError(
                f"{one.place}: its row has the columns {', '.join(row)}, and the first has "
                f"{', '.join(self._columns)}; --format jsonl writes rows that differ"
            )
        csv.writer(self._stream).writerow(map(_cell, row.values()))

    def flush(self) -> None:
        """Bring what was written out of this process."""
        self._stream.flush()


def _free(name: str, taken: Mapping[str, Any]) -> str:
    return f"predicted {name}" if name in taken else name


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.8g}"
    return json.dumps(value) if isinstance(value, list | dict) else value
