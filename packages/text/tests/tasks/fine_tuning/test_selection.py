"""Which examples an experiment gets."""

from __future__ import annotations

from collections import Counter

import pytest

from graftwork import GraftworkError
from graftwork_text.corpora import LabelledData, LabelledExample
from graftwork_text.corpora.sameness import evened
from graftwork_text.tasks.fine_tuning.selection import (
    ClassSelection,
    Selection,
    draw_by_number,
    draw_parts,
)


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
    ("rows", "asked", "sizes"),
    [
        (480, (1000, 500, 1000), (320, 160, 40)),
        (8, (1000, 500, 10), (6, 2, 10)),
        (2, (1000, 500, 1000), (1, 1, 40)),
        (100, (90, 20, 41), (82, 18, 40)),
        (100, (None, 100, None), (80, 20, 40)),
        (100, (None, 99, None), (1, 99, 40)),
    ],
)
def test_small_data_shares_out_what_it_has(
    rows: int, asked: tuple[int | None, ...], sizes: tuple[int, ...]
) -> None:
    options = dict(zip(("train_examples", "validation_examples", "test_examples"), asked, strict=True))
    selection = ClassSelection(**options)
    parts = draw_parts(LabelledData(("a", "b"), examples("train", rows), DATA.test), selection)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == sizes
    assert not set(parts.train) & set(parts.validation)
    told = parts.smaller_than(selection) or ""
    fewer = [
        f"{name} = {count}"
        for (name, count), size in zip(options.items(), sizes, strict=True)
        if count and size < count
    ]
    assert [line in told for line in fewer] == [True] * len(fewer)
    assert told.count("=") == len(fewer)


def test_a_validation_part_of_its_own_takes_nothing_from_training() -> None:
    parts = draw_parts(WITH_VALIDATION, ClassSelection(train_examples=1000, validation_examples=500))
    assert [len(parts.train), len(parts.validation)] == [100, 60]


@pytest.mark.parametrize(
    ("data", "selection", "message"),
    [
        (DATA, ClassSelection(shots_per_class=13), "= 13: the examples of label 'b' are enough for 12 "),
        (
            WITH_VALIDATION,
            ClassSelection(shots_per_class=16),
            "= 16: the examples of label 'b' are enough for 15 ",
        ),
        (
            LabelledData(("a", "b"), DATA.train[:1], ()),
            ClassSelection(),
            r"task.data has 1 example\(s\) beside",
        ),
    ],
)
def test_what_can_mean_nothing_is_refused(
    data: LabelledData, selection: ClassSelection, message: str
) -> None:
    with pytest.raises(GraftworkError, match=message):
        draw_parts(data, selection)


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="train_examples must be left out with shots_per_class = 16"):
        ClassSelection(shots_per_class=16, train_examples=3)
    with pytest.raises(ValueError, match="test_examples must be at least 1, got 0"):
        ClassSelection(test_examples=0)


def as_written_elsewhere(examples: list[LabelledExample]) -> list[LabelledExample]:
    """The same texts with other white space and case, and the other label."""
    return [LabelledExample((f" {one.texts[0].upper()}\n",), 1 - one.label) for one in examples]


def texts(part: tuple[LabelledExample, ...]) -> set[str]:
    return {evened(example.texts[0]) for example in part}


OWN = examples("own", 60)
# Each part as a file of its own or drawn, and what of it stands in the file to learn from.
LEAKS = {
    "test": (
        LabelledData(("a", "b"), [*DATA.train, *as_written_elsewhere(examples("test", 18))], DATA.test),
        18,
    ),
    "validation": (
        LabelledData(("a", "b"), [*DATA.train, *as_written_elsewhere(OWN[:18])], DATA.test, OWN),
        18,
    ),
    "both": (
        LabelledData(
            ("a", "b"), [*DATA.train, *as_written_elsewhere([*OWN[:9], *DATA.test[:9]])], DATA.test, OWN
        ),
        18,
    ),
    "drawn": (
        LabelledData(("a", "b"), [*DATA.train, *as_written_elsewhere(examples("train", 100))], DATA.test),
        None,
    ),
}


@pytest.mark.parametrize(
    "selection",
    [
        ClassSelection(shots_per_class=7),
        ClassSelection(),
        ClassSelection(train_examples=50, validation_examples=20, test_examples=5),
    ],
    ids=["shots", "all", "numbers"],
)
@pytest.mark.parametrize("leak", LEAKS)
def test_nothing_held_out_is_learnt_from(leak: str, selection: ClassSelection) -> None:
    data, copies = LEAKS[leak]
    parts = draw_parts(data, selection)
    assert parts.train
    assert parts.validation
    assert not texts(parts.train) & (texts(parts.validation) | texts(tuple(data.test)))
    assert not data.validation or not texts(parts.train) & texts(tuple(data.validation))
    if copies is None:  # each stands twice in the file, and both may have been drawn
        copies = 2 * len(texts(parts.validation)) - len(parts.validation)
    assert parts.copies == copies > 0
    assert parts.facts()["held_out_copies_left_out"] == parts.copies


def test_without_a_copy_the_draw_is_as_it_was_and_no_fact_is_kept() -> None:
    clean, (leaky, _) = draw_parts(WITH_VALIDATION, ClassSelection()), LEAKS["validation"]
    assert clean.copies == 0
    assert "held_out_copies_left_out" not in clean.facts()
    assert draw_parts(leaky, ClassSelection()).validation
    assert Counter(draw_parts(leaky, ClassSelection()).train) == Counter(leaky.train[:100])


@pytest.mark.parametrize("selection", [ClassSelection(shots_per_class=7), ClassSelection()])
def test_data_that_is_all_held_out_is_a_test_part_alone(selection: ClassSelection) -> None:
    parts = draw_parts(LabelledData(("a", "b"), DATA.train, DATA.train), selection)
    assert (parts.train, parts.validation, parts.copies) == ((), (), 100)
    assert Counter(parts.test) == Counter(DATA.train)


def test_too_few_that_differ() -> None:
    with pytest.raises(
        GraftworkError,
        match=r"^task\.data = '\./mine' has 1 example\(s\) beside the test part \(and 2 that stand in a held",
    ):
        draw_by_number("aAb", (), "B", Selection(), key=str.casefold, where="task.data = './mine'")
