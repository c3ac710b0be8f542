"""Metrics files of any length: exact where they are short, bounded where they are long."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_trainer.report import curve_file
from graftwork_trainer.report.curve_file import MOST_POINTS, Curve, read_curves


def written(path: Path, records: list[tuple[float, float]]) -> Path:
    """A file of one metric."""
    lines = (json.dumps({"step": step, "seconds": step / 2, "train/loss": value}) for step, value in records)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def read(path: Path, records: list[tuple[float, float]]) -> Curve:
    return read_curves(written(path / "metrics.jsonl", records))["train/loss"]


def wave(count: int) -> list[tuple[float, float]]:
    return [(step, math.sin(step * 12.9898)) for step in range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 2, MOST_POINTS])
def test_what_is_short_is_kept_as_it_is(tmp_path, count):
    curve = read(tmp_path, wave(count))
    assert list(zip(curve.steps, curve.values, strict=True)) == wave(count)
    assert curve.seconds == tuple(step / 2 for step in curve.steps)
    assert curve.lowest == curve.highest == ()


@pytest.mark.parametrize("most", [4, 8])
@pytest.mark.parametrize("count", [9, 10, 31, 64, 65, 66, 129, 130, 1000])
def test_what_is_long_keeps_means_extremes_and_its_last_record(tmp_path, monkeypatch, most, count):
    monkeypatch.setattr(curve_file, "MOST_POINTS", most)
    monkeypatch.setattr(curve_file, "_CHUNK", 16 * most)
    records = wave(count)
    curve = read(tmp_path, records)
    values = [value for _, value in records]
    assert len(curve.steps) <= most + 1
    assert (curve.steps[-1], curve.values[-1]) == records[-1]
    assert (min(curve.lowest), max(curve.highest)) == (min(values), max(values))
    assert np.all(np.diff(curve.steps) > 0)
    # Whole numbers of records, each in one point: the means of steps say which.
    edges = [0]
    for middle in curve.steps[:-1]:
        edges.append(round(2 * middle - 1 - edges[-1]))
    assert edges[-1] == count - 1
    for start, end, value, low, high in zip(
        edges, edges[1:], curve.values, curve.lowest, curve.highest, strict=False
    ):
        part = values[start:end]
        assert (value, low, high) == (pytest.approx(np.mean(part)), min(part), max(part))


def test_where_a_step_goes_back_what_lay_beyond_did_not_happen(tmp_path, monkeypatch):
    assert read(tmp_path, [(1, 9.0), (2, 8.0), (3, 7.0), (2, 6.0)]).values == (9.0, 6.0)
    monkeypatch.setattr(curve_file, "MOST_POINTS", 4)
    monkeypatch.setattr(curve_file, "_CHUNK", 16)
    again = read(tmp_path, [*wave(100), (1, 5.0), (2, 4.0)])
    assert (again.steps, again.values) == ((1.0, 2.0), (5.0, 4.0))
    beyond = read(tmp_path, [*wave(100), (60, 5.0)])
    assert beyond.steps[-1] == 60
    assert all(step < 60 for step in beyond.steps[:-1])
    assert len(beyond.steps) > 1


def test_what_is_no_number_stays_one_in_the_point_that_it_is_in(tmp_path, monkeypatch):
    monkeypatch.setattr(curve_file, "MOST_POINTS", 4)
    monkeypatch.setattr(curve_file, "_CHUNK", 16)
    records = wave(100)
    records[40] = (41, math.nan)
    curve = read(tmp_path, records)
    assert sum(map(math.isnan, curve.values)) == 1


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(curve_file, "MOST_POINTS", 16)
    monkeypatch.setattr(curve_file, "_CHUNK", 64)

    def peak(count: int) -> int:
        file = written(tmp_path / "metrics.jsonl", wave(count))
        tracemalloc.start()
        read_curves(file)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(3_000) < 1.3 * peak(600)


@pytest.mark.parametrize("line", ["[" * 100_000, "{", "\x00"])
def test_a_damaged_line_is_named_unless_it_is_the_last(tmp_path, line):
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{{"step": 1, "train/loss": 2.0}}\n{line}\n')
    assert read_curves(file)["train/loss"].values == (2.0,)
    file.write_text(f'{{"step": 1, "train/loss": 2.0}}\n{line}\n\n{{"step": 2}}\n')
    with pytest.raises(GraftworkError, match=r"metrics\.jsonl, line 2: not valid JSON"):
        read_curves(file)


def test_a_number_beyond_a_floats_range_is_named(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{{"step": 1, "train/loss": 1{"0" * 400}}}\n')
    with pytest.raises(GraftworkError, match=r"line 1: expected a number for 'train/loss', got one beyond"):
        read_curves(file)


def test_a_file_that_cannot_be_read_is_named_and_one_that_is_missing_is_empty(tmp_path):
    assert read_curves(tmp_path / "nowhere") == {}
    with pytest.raises(GraftworkError, match=f"{tmp_path} is a folder, and a file is needed"):
        read_curves(tmp_path)


def test_the_value_of_a_step_is_the_last_up_to_it():
    curve = Curve((10.0, 20.0), (1.0, 2.0), (5.0, 4.0))
    assert [curve.value_at(step) for step in (5, 10, 15, 20, 99)] == [5.0, 5.0, 5.0, 4.0, 4.0]
