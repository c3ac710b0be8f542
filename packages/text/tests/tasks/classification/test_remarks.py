"""What is doubtful in a table: told once, counted in the facts of the run, absent where there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graftwork import choose

Options = Callable[..., dict[str, Any]]


def facts(capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[dict[str, Any], list[str]]:
    task = choose("task", "sequence-classification", options)()
    capsys.readouterr()
    found = [task.facts(), task.facts()]
    assert found[0] == found[1]
    return found[0], capsys.readouterr().err.splitlines()


def test_a_sound_table_has_nothing_to_tell(
    sentence_folder: Path, small: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    found, told = facts(capsys, **small(sentence_folder))
    assert told == []
    assert not {"empty_rows", "repeated_rows", "labels_alike", "texts_with_contrary_labels"} & found.keys()
    assert found["labels"] == "negative, positive"


def test_everything_is_one_line_and_one_fact(
    sentence_folder: Path, small: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    lines = [f"film {number},{'good' if number % 2 else 'bad'}" for number in range(60)]
    path.write_text("\n".join(["text,label", *lines, ",", "film 1,good", "film 2,Good", "film 9, good"]))
    found, told = facts(capsys, **small(sentence_folder, data=str(path), train_examples=10))
    counted = {
        "empty_rows": 1,
        "repeated_rows": 3,
        "labels_written_in_several_ways": 1,
        "texts_with_contrary_labels": 1,
    }
    assert {name: found.get(name) for name in counted} == counted
    assert [line.partition(": ")[0] for line in told] == ["graftwork"] * len(told)
    for words in (
        "1 row(s) of nothing but separators",
        "3 row(s) repeat",
        "' good' (1 row)",
        "line 4 and line 64",
    ):
        (line,) = (line for line in told if words in line)
        assert line.count(str(path)) == 1


def test_a_class_of_which_none_was_drawn_is_told(
    sentence_folder: Path, small: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "\n".join(f"film {number},{number % 2}" for number in range(60)))
    options = small(sentence_folder, data=str(path), train_examples=1, validation_examples=30)
    found, told = facts(capsys, **options)
    assert found["classes_without_training_examples"] == 1
    assert any("no example to learn from was drawn of 1 class(es) ('" in line for line in told)


def test_a_class_whose_only_example_is_held_out_is_told(
    sentence_folder: Path, small: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nNumber 0 was dull.,0\nNumber 1 was fine.,1\nNumber 2 was dull.,0\n")
    found, told = facts(capsys, **small(sentence_folder, data=str(path)))
    assert found["classes_without_training_examples"] == 1
    assert any("of 1 class(es) ('1'), to which 1 held-out one(s) belong" in line for line in told)
