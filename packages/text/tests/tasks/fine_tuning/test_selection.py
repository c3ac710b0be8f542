"""Which examples an experiment gets."""

from __future__ import annotations

from collections import Counter

import pytest

from graftwork import GraftworkError
from graftwork_text.corpora import LabelledData, LabelledExample
from graftwork_text.tasks.fine_tuning.selection import ClassSelection, draw_parts


def examples(prefix: str, count: int) -> list[LabelledExample]:
    """Three of four are of the first class."""
    return [LabelledExample((f"{prefix} {number}",), int(number % 4 == 0)) for number in range(count)]


DATA = LabelledData(("a", "b"), examples("train", 100), examples("test", 40))
WITH_VALIDATION = LabelledData(DATA.labels, DATA.train, DATA.test, examples("validation", 60))


@pytest.mark.parametrize("data", [DATA, WITH_VALIDATION])
def test_shots_give_every_class_as_many_for_training_and_for_validation(data: LabelledData) -> None:
    parts = draw_parts(data, ClassSelection(shots_per_class=7, data_seed=13))
    for part in (parts.train, parts.validation):
        assert Counter(example.label for example in part) == {0: 7, 1: 7}
    assert not set(parts.train) & set(parts.validation)
    if data.validation:
        assert set(parts.validation) <= set(data.validation)
    assert Counter(parts.test) == Counter(data.test)


def test_numbers_of_examples_and_what_is_left() -> None:
    parts = draw_parts(DATA, ClassSelection(train_examples=30, validation_examples=20, test_examples=10))
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [30, 20, 10]
    rest = draw_parts(DATA, ClassSelection(validation_examples=20))
    assert set(rest.train) | set(rest.validation) == set(DATA.train)
    assert not set(rest.train) & set(rest.validation)
    # A fifth where nothing is said.
    assert len(draw_parts(DATA, ClassSelection()).validation) == 20
    assert len(draw_parts(WITH_VALIDATION, ClassSelection()).validation) == 60
    assert len(draw_parts(WITH_VALIDATION, ClassSelection()).train) == 100


def test_the_seed_draws_training_and_validation_and_leaves_the_test_part() -> None:
    first, again, other = (
        draw_parts(DATA, ClassSelection(shots_per_class=3, test_examples=10, data_seed=seed))
        for seed in (13, 13, 21)
    )
    assert first == again
    assert first.facts() == again.facts()
    assert first.facts()["examples_sha256"] != other.facts()["examples_sha256"]
    assert set(first.train) != set(other.train)
    assert set(first.validation) != set(other.validation)
    assert first.test == other.test


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (ClassSelection(shots_per_class=13), "13: the data has 12 training example.s. left of label 'b'"),
        (ClassSelection(shots_per_class=26), "26: the data has 25 validation example.s. left of label 'b'"),
        (ClassSelection(train_examples=90, validation_examples=20), "train_examples must be at most 80"),
        (ClassSelection(validation_examples=101), "validation_examples must be at most 100, .* got 101"),
        (ClassSelection(validation_examples=100), "the data leaves no training examples"),
        (ClassSelection(test_examples=41), "test_examples must be at most 40, .* got 41"),
    ],
)
def test_more_than_there_is(sizes: ClassSelection, message: str) -> None:
    with pytest.raises(GraftworkError, match=message):
        draw_parts(DATA, sizes)


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="train_examples must be left out with shots_per_class = 16"):
        ClassSelection(shots_per_class=16, train_examples=3)
    with pytest.raises(ValueError, match="test_examples must be at least 1, got 0"):
        ClassSelection(test_examples=0)
