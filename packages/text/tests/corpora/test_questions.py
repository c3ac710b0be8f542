"""Files of questions: both forms, the held-out part, and what is said of rows that do not fit.

Reached from here: ``corpora/contrary.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graftwork import GraftworkError
from graftwork_text.corpora import HeldOutFiles, QuestionCorpus, find_questions

FIELDS = ("context", "question")
GOOD = {"context": "c", "question": "q"}
Write = Callable[..., str]


def files(data: str, **others: str) -> QuestionCorpus:
    return find_questions(data, HeldOutFiles(**others))


def test_an_answer_is_given_by_place_or_by_text(questions: Write) -> None:
    rows = [{**GOOD, "options": ["x", " y "], "answer": answer} for answer in (1, "y", 0)]
    one = questions([{**GOOD, "context": 7, "options": ["x", "y"], "answer": "x"}], "test.jsonl")
    data = files(questions(rows), test_data=one).read(FIELDS)
    assert data.form == "choice"
    assert [question.right_option for question in data.train] == [1, 1, 0]
    assert [question.answers for question in data.train] == [("y",), ("y",), ("x",)]
    assert data.test[0].texts == ("7", "q")


def test_a_fifth_is_held_out_by_text_and_repeated_questions_count_once(questions: Write) -> None:
    rows = [{"context": str(n % 200), "question": "q", "answers": ["x"]} for n in range(400)]
    data = files(questions(rows)).read(FIELDS)
    train, test = ({question.texts for question in part} for part in (data.train, data.test))
    assert len(data.train) == len(train)
    assert len(train) + len(test) == 200
    assert not train & test
    assert 20 <= len(test) <= 60
    again = files(questions(rows[::-1])).read(FIELDS)
    assert {question.texts for question in again.test} == test


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"context": "c", "answers": ["x"]}, "field 'question', which the prompt names, is missing"),
        (
            {**GOOD, "question": ["q"], "answers": ["x"]},
            r"field 'question', .* is the list \[\"q\"\], and must be a text",
        ),
        (GOOD, "field 'answers' is missing; give the right answers, or 'options' with 'answer'"),
        ({**GOOD, "answers": []}, r"field 'answers' must be a list of at least 1 text\(s\).* got \[\]"),
        ({**GOOD, "answers": "x"}, "field 'answers' must be a list .* got 'x'"),
        ({**GOOD, "answers": ["x", " "]}, "field 'answers' must be a list .* none of them empty"),
        ({**GOOD, "answers": ["x\ny"]}, r"field 'answers' holds a line's end in 'x\\ny'"),
        ({**GOOD, "options": ["x"], "answer": 0}, "field 'options' must be a list of at least 2"),
        ({**GOOD, "options": ["x", "x "], "answer": 0}, "field 'options' holds the same text twice"),
        ({**GOOD, "options": ["x", "y"], "answer": 2}, "field 'answer' must be .* its place, 0 to 1; got 2"),
        ({**GOOD, "options": ["x", "y"], "answer": -1}, "field 'answer' must be .*; got -1"),
        ({**GOOD, "options": ["x", "y"], "answer": True}, "field 'answer' must be .*; got True"),
        ({**GOOD, "options": ["x", "y"], "answer": "z"}, "field 'answer' must be one of the options"),
        ({**GOOD, "options": ["x", "y"]}, "field 'answer' must be .*; got None"),
        ("{", "not JSON on its own"),
        ({**GOOD, "context": None, "answers": ["x"]}, "field 'context', .* is null, and must be a text$"),
        ({**GOOD, "options": ["x", "y"], "answer": 1.5}, "field 'answer' must be .*; got 1.5"),
        ("[]", "expected an object"),
    ],
)
def test_a_row_that_does_not_fit_is_named(questions: Write, row: Any, message: str) -> None:
    form = {"options": ["x", "y"], "answer": 0} if "options" in row else {"answers": ["x"]}
    path = questions([{**GOOD, **form}, "", row])
    with pytest.raises(GraftworkError, match=rf"questions\.jsonl, line 3: {message}"):
        files(path).read(FIELDS)


def test_a_near_name_is_offered(questions: Write) -> None:
    with pytest.raises(GraftworkError, match="did you mean 'questions'"):
        files(questions([{"context": "c", "questions": "q", "answers": ["x"]}])).read(FIELDS)


def test_all_rows_of_all_files_have_one_form(questions: Write) -> None:
    free = questions([{**GOOD, "answers": ["x"]}])
    choice = questions([{**GOOD, "options": ["x", "y"], "answer": 0}], "test.jsonl")
    with pytest.raises(GraftworkError, match=r"test\.jsonl, line 1: field 'options' is there"):
        files(free, test_data=choice).read(FIELDS)
    with pytest.raises(GraftworkError, match=r"questions\.jsonl, line 1: field 'options' is missing"):
        files(choice, test_data=free).read(FIELDS)


def test_files_that_are_not_there_or_empty(questions: Write, tmp_path: Path) -> None:
    with pytest.raises(
        GraftworkError, match=r"data '.*none\.jsonl' is not an existing .jsonl file; questions come from"
    ):
        files(str(tmp_path / "none.jsonl"))
    with pytest.raises(GraftworkError, match=r"test_data '.*\.csv' is not an existing \.jsonl file"):
        files(questions([{**GOOD, "answers": ["x"]}]), test_data=str(tmp_path / "x.csv"))
    with pytest.raises(GraftworkError, match=r"questions\.jsonl: holds no rows"):
        files(questions([])).read(FIELDS)
    for part in ("validation_data", "test_data"):
        empty = questions([], "empty.jsonl")
        with pytest.raises(GraftworkError, match=r"empty\.jsonl: holds no rows"):
            files(questions([{**GOOD, "answers": ["x"]}]), **{part: empty}).read(FIELDS)


def test_what_pandas_writes_is_read(questions: Write) -> None:
    # A place as a float, once one was missing; null for the field that the other form has.
    choices = [{**GOOD, "options": ["x", "y"], "answer": 1.0, "answers": None}]
    free = [{**GOOD, "options": None, "answer": None, "answers": ["x"]}]
    assert files(questions(choices)).read(FIELDS).train[0].answers == ("y",)
    assert files(questions(free)).read(FIELDS).form == "free"


def test_repeated_and_contrary_questions_are_said(questions: Write) -> None:
    rows = [
        {"context": str(n % 4), "question": "q", "options": ["x", "y"], "answer": n == 5} for n in range(6)
    ]
    path = questions([{**row, "answer": int(row["answer"])} for row in rows])
    assert [(remark.fact, remark.count, remark.told) for remark in files(path).read(FIELDS).remarks] == [
        ("repeated_rows", 2, "2 row(s) repeat an earlier question and are left out"),
        (
            "questions_with_contrary_answers",
            1,
            "1 question(s) stand with more than one right option (first: line 2 and line 6)",
        ),
    ]
