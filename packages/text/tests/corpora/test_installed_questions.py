"""Questions on the standard library's functions."""

from __future__ import annotations

import inspect
import statistics
from collections import Counter
from pathlib import Path

from graftwork_text.corpora import find_questions
from graftwork_text.corpora.installed_questions import documented_functions

FIELDS = ("context", "question")


def test_there_are_enough_of_one_form_with_the_right_answer_at_every_place() -> None:
    data = find_questions("installed-questions").read(FIELDS)
    questions = [*data.train, *data.test]
    assert data.form == "choice"
    assert len(questions) > 1000
    assert 0.15 < len(data.test) / len(questions) < 0.25
    places = Counter(question.right_option for question in questions)
    assert sorted(places) == [0, 1, 2, 3]
    assert min(places.values()) > 0.8 * len(questions) / 4
    assert all(len(set(question.options)) == 4 for question in questions)


def test_they_are_the_same_each_time_and_name_the_python_that_they_come_from() -> None:
    first, second = (find_questions("installed-questions") for _ in range(2))
    assert first.read(FIELDS) == second.read(FIELDS)
    assert first.identity == second.identity
    assert "." in first.identity["stdlib"]


def test_the_answer_to_a_question_is_right() -> None:
    data = find_questions("installed-questions").read(FIELDS)
    classes = [value for value in vars(statistics).values() if isinstance(value, type)]
    asked = [one for one in [*data.train, *data.test] if "the module statistics " in one.texts[1]]
    assert asked
    for question in asked:
        (name,) = question.answers
        functions = [getattr(owner, name) for owner in (statistics, *classes) if hasattr(owner, name)]
        documents = [" ".join((inspect.getdoc(function) or "").split()) for function in functions]
        assert any(document.startswith(question.texts[0]) for document in documents)


def test_only_whole_sentences_that_do_not_give_the_name_away(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        '''
def add(first, second=(1, 2)) -> int:
    """Return the sum of two numbers. Much more is said here."""

class Thing:
    async def wait_for(
        self, seconds: float
    ) -> None:
        """Sleep until so many seconds are over.

        Later."""

def total(values):
    """Compute the total of some values."""

def short(x):
    """Too short."""

def _hidden(x):
    """Nobody is to call this function here."""

def code(x):
    """Call code(x) :: something else is no sentence"""
'''
    )
    assert documented_functions(file) == {
        "add": "Return the sum of two numbers.",
        "wait_for": "Sleep until so many seconds are over.",
    }
