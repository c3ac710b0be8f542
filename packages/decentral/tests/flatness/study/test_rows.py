"""Rows on disk."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_decentral.flatness.study.rows import Row, RowStore, read_rows


def row(seed: int, **measures: float) -> Row:
    return Row("diffusion", "ring", 0.2, 4, 8, seed, 10, "finished", 1.5, measures)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    store = RowStore(tmp_path, {"steps": 10, "measure": ("a", "b")})
    store.add(row(0, loss=0.1 + 0.2))
    store.add(row(1, loss=1e-17, trace=float("nan")))
    again = RowStore(tmp_path, {"measure": ("a", "b"), "steps": 10})
    assert again["diffusion", "ring", 8, 0] == row(0, loss=0.1 + 0.2)
    assert again["diffusion", "ring", 8, 1].measures == {"loss": 1e-17}
    assert ("diffusion", "ring", 8, 2) not in again


def test_a_csv_has_every_measure_of_any_row(tmp_path: Path) -> None:
    store = RowStore(tmp_path, {})
    store.add(row(0, loss=0.5))
    store.add(row(1, trace=2.0))
    store.write_csv()
    with (tmp_path / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["seed"], line["loss"], line["trace"]) for line in lines] == [
        ("0", "0.5", ""),
        ("1", "", "2"),
    ]


def test_an_unfinished_line_is_cut_off_and_others_stay(tmp_path: Path) -> None:
    RowStore(tmp_path, {}).add(row(0))
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"method": "dif')
    store = RowStore(tmp_path, {})
    store.add(row(1))
    assert [one.seed for one in read_rows(tmp_path)] == [0, 1]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    RowStore(tmp_path, {}).add(row(0))
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(GraftworkError, match="line 2: is no row of a study"):
        read_rows(tmp_path)


def test_rows_of_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    RowStore(tmp_path, {"steps": 10, "agents": 4})
    with pytest.raises(GraftworkError, match="steps was 10 and is 20; give another folder"):
        RowStore(tmp_path, {"steps": 20, "agents": 4})
