"""The rows of a study on disk: one JSON object a line, appended when a run has ended.

Files in a study's folder: ``study.json`` (all that a row depends on besides its own cell), ``rows.jsonl`` and
``rows.csv`` (the same rows). A line that a killed process left unfinished is cut off when the folder is
opened again; whole ones stay.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from graftwork import GraftworkError
from graftwork_trainer.tables import write_csv

CellKey = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Args:
        method: ``centralized``, or a strategy with the options that it was given.
        graph: a topology with the options that it was given.
        gap: ``1 - ||W - 11'/n||`` of its mixing matrix as used; none where the graph changes with the step.
        agents: how many.
        batch_size: of one agent and step.
        seed: of weights, batches and everything else that is drawn.
        steps: that were taken, those before the common start not counted.
        status: diverged where the training loss is not finite; measures are missing then.
        seconds: that training and measuring took.
        measures: by name; :mod:`.measures` says which.
    """

    method: str
    graph: str
    gap: float | None
    agents: int
    batch_size: int
    seed: int
    steps: int
    status: Literal["finished", "diverged"]
    seconds: float
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> CellKey:
        """What tells it from the other rows of its study."""
        return self.method, self.graph, self.batch_size, self.seed

    def __getitem__(self, measure: str) -> float:
        """Return a measure."""
        return self.measures[measure]


class RowStore:
    """The rows in a folder, to read and to add to.

    Args:
        output: the folder; made if need be.
        settings: plain data; all that rows depend on besides their cells.

    Raises:
        GraftworkError: the folder holds rows of other settings, or a damaged file.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self._output = output
        self._take_settings(json.loads(json.dumps(settings)))
        self._path = output / "rows.jsonl"
        self._cut_unfinished_line()
        self._rows = {row.key: row for row in read_rows(output)}

    def __contains__(self, key: CellKey) -> bool:
        return key in self._rows

    def __getitem__(self, key: CellKey) -> Row:
        return self._rows[key]

    def add(self, row: Row) -> None:
        """Append a row; it is on disk when this returns."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_plain(row), allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._rows[row.key] = row

    def write_csv(self) -> None:
        """Write all rows as ``rows.csv``."""
        rows = list(self._rows.values())
        facts = [one.name for one in fields(Row) if one.name != "measures"]
        measures = list(dict.fromkeys(name for row in rows for name in row.measures))
        cells = (
            [*(getattr(row, name) for name in facts), *(row.measures.get(name) for name in measures)]
            for row in rows
        )
        write_csv(self._output / "rows.csv", [*facts, *measures], cells)

    def _take_settings(self, settings: Mapping[str, Any]) -> None:
        path = self._output / "study.json"
        if not path.exists():
            replace_text(path, json.dumps(settings, indent=1))
            return
        try:
            before = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise GraftworkError(f"{path}: is not JSON ({error}); give another folder") from error
        changed = [
            f"{name} was {before.get(name)!r} and is {settings.get(name)!r}"
            for name in dict.fromkeys([*before, *settings])
            if before.get(name) != settings.get(name)
        ]
        if changed:
            raise GraftworkError(
                f"{self._output}: holds rows of another study: {'; '.join(changed)}; give another folder, or "
                "the same options (methods, graphs, batch_sizes and seeds alone may differ)"
            )

    def _cut_unfinished_line(self) -> None:
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self._path.open("r+b") as file:
                file.truncate(whole)


def read_rows(output: Path) -> list[Row]:
    """Return the rows of a study's folder, in the order in which they were computed.

    Args:
        output: the folder.

    Raises:
        GraftworkError: a line is not a row.
    """
    path = output / "rows.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise GraftworkError(
                f"{path}, line {number}: is no row of a study ({error}); delete the line"
            ) from error
    return rows


def replace_text(path: Path, text: str) -> None:
    """Write a file that is whole or absent."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _plain(row: Row) -> dict[str, Any]:
    data = asdict(row)
    data["measures"] = {name: value for name, value in row.measures.items() if math.isfinite(value)}
    return data
