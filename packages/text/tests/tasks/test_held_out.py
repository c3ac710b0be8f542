"""What is held out is not learnt from, by every task that learns from examples; counted and told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graftwork import GraftworkError, choose

Row = Callable[[int], dict[str, Any]]


def review(number: int) -> dict[str, Any]:
    return {"text": f"Film number {number} was great", "label": number % 2}


def question(number: int) -> dict[str, Any]:
    options = ["yes", "no", "maybe"]
    return {
        "context": f"Film number {number}",
        "question": "Great?",
        "options": options,
        "answer": number % 3,
    }


def elsewhere(row: dict[str, Any]) -> dict[str, Any]:
    """The same as another has written it."""
    copy = {name: f" {value.upper()}\t" if isinstance(value, str) else value for name, value in row.items()}
    return copy | ({"options": row["options"][::-1], "answer": 0} if "options" in row else {})


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture(params=["sequence-classification", "prompt-classification", "prompt-answering"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Build a task on rows by part."""
    name = request.param
    row = question if name == "prompt-answering" else review
    folder = "sentence_folder" if name == "sequence-classification" else "causal_folder"

    def build(**parts: list[int]) -> Any:
        options: dict[str, Any] = {"model": str(request.getfixturevalue(folder))}
        for part, numbers in parts.items():
            rows = [row(number) if number >= 0 else elsewhere(row(-number)) for number in numbers]
            options[part] = write(tmp_path / f"{part}.jsonl", rows)
        return choose("task", name, options)()

    return build


@pytest.mark.parametrize("part", ["validation_data", "test_data"])
def test_copies_of_a_given_part_are_not_learnt_from(
    make: Callable[..., Any], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = list(range(100, 119))
    parts = {"test_data": [200, 201]} | {part: held_out}
    task = make(data=[*range(40), *(-number for number in held_out[:18])], **parts)
    trained = {" ".join(example.texts).casefold().split()[2] for example in task.parts.train}
    assert trained
    assert not trained & {str(number) for number in held_out}
    assert task.facts()["held_out_copies_left_out"] == 18
    told = capsys.readouterr().err
    assert (
        told.count("18 training examples stand among the held-out ones too (up to white space and case)") == 1
    )


def test_without_copies_there_is_nothing_to_tell(
    make: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    task = make(data=list(range(40)), validation_data=list(range(100, 110)))
    assert "held_out_copies_left_out" not in task.facts()
    assert "stand among" not in capsys.readouterr().err


def test_data_that_is_all_held_out_can_be_tested_on_and_not_learnt_from(make: Callable[..., Any]) -> None:
    task = make(data=list(range(40)), test_data=list(range(40)))
    assert len(task.parts.test) == 40
    for part in ("train", "validation"):
        with pytest.raises(
            GraftworkError, match="each of the 40 examples to learn from stands among the held-out"
        ):
            task.batches(part, rank=0, world_size=1, seed=0)
