"""Normalisation, exact match and F1 against cases worked out by hand."""

from __future__ import annotations

import pytest

from graftwork_text.tasks.answering.marking import best_f1, exact_match, normalized


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The Eiffel Tower", "eiffel tower"),
        ("  an  APPLE,\ta day. ", "apple day"),
        ("U.S.A.", "usa"),
        ("theory of another", "theory of another"),
        ("rock-and-roll", "rockandroll"),
        ("The", ""),
        ("¿Qué?", "¿qué"),
    ],
)
def test_normalized(answer: str, expected: str) -> None:
    assert normalized(answer) == expected


@pytest.mark.parametrize(
    ("answer", "right", "expected"),
    [
        ("Paris", ["paris!"], 1.0),
        # Shares one of two words with the one, one of one with the other.
        ("in Paris", ["Paris"], 2 / 3),
        ("Denver Broncos", ["Broncos", "the Denver Broncos"], 1.0),
        # Of "red red blue" and "red blue blue" two words are shared, with repetition: 4 / 6.
        ("red red blue", ["red blue blue"], 2 / 3),
        ("green", ["red"], 0.0),
        ("", ["red"], 0.0),
        ("the", ["a"], 1.0),
        ("the", ["red", "an"], 1.0),
    ],
)
def test_best_f1(answer: str, right: list[str], expected: float) -> None:
    assert best_f1(answer, right) == pytest.approx(expected)
    assert exact_match(answer, right) == float(expected == 1.0)
