"""The examples of one experiment: a few of each class, or so many in all, drawn by a seed.

``shots_per_class`` examples of every class to learn from and as many for validation, as in few-shot protocols
(16 a class, five data seeds); or numbers of examples for each part (1000 / 500 / 1000 in MeZO and LOZO). The
test part does not depend on the data seed.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np

from graftwork.errors import GraftworkError
from graftwork_text.corpora import LabelledData, LabelledExample

Split = Literal["train", "validation", "test"]
# Its own stream, so that the test part is the same whatever the data seed is.
_TEST_STREAM = 1
_DRAWN_VALIDATION = 500
_Example = TypeVar("_Example")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which examples of the data an experiment gets.

    Args:
        train_examples: examples to learn from; none for all.
        validation_examples: examples for validation; none for all of the data's own validation part, or else
            for 500 (at most a fifth), drawn from those to learn from.
        test_examples: test examples; none for all.
        data_seed: draws training and validation examples.

    Raises:
        ValueError: an option is out of its range.
    """

    train_examples: int | None = None
    validation_examples: int | None = None
    test_examples: int | None = None
    data_seed: int = 0

    def __post_init__(self) -> None:
        for option in ("train_examples", "validation_examples", "test_examples"):
            _check(option, getattr(self, option), least=1)
        _check("data_seed", self.data_seed, least=0)


@dataclass(frozen=True, kw_only=True)
class ClassSelection(Selection):
    """The same where examples have classes.

    Args:
        shots_per_class: examples of every class to learn from, and as many for validation; none for parts by
            number.

    Raises:
        ValueError: an option is out of its range, or shots_per_class goes with other numbers.
    """

    shots_per_class: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("shots_per_class", self.shots_per_class, least=1)
        for option in ("train_examples", "validation_examples"):
            if self.shots_per_class is not None and getattr(self, option) is not None:
                raise ValueError(
                    f"{option} must be left out with shots_per_class = {self.shots_per_class}, which "
                    f"decides both parts; got {getattr(self, option)}"
                )


def _check(option: str, value: int | None, *, least: int) -> None:
    if value is not None and value < least:
        raise ValueError(f"{option} must be at least {least}, got {value}")


@dataclass(frozen=True, slots=True)
class Parts(Generic[_Example]):
    """The examples of one experiment.

    Args:
        train: to learn from.
        validation: to choose by.
        test: for the last word.
    """

    train: tuple[_Example, ...]
    validation: tuple[_Example, ...]
    test: tuple[_Example, ...]

    def of(self, split: Split) -> tuple[_Example, ...]:
        """One of them."""
        part: tuple[_Example, ...] = getattr(self, split)
        return part

    def all(self) -> Iterator[_Example]:
        """Every example, part by part."""
        return itertools.chain(self.train, self.validation, self.test)

    def facts(self) -> dict[str, str | int]:
        """Sizes, and the SHA-256 over every example in order, as plain data."""
        total = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            total.update(f"{len(part)} {part!r}".encode())
        return {
            "train_examples": len(self.train),
            "validation_examples": len(self.validation),
            "test_examples": len(self.test),
            "examples_sha256": total.hexdigest(),
        }


def draw_parts(data: LabelledData, selection: ClassSelection) -> Parts[LabelledExample]:
    """Draw the examples of one experiment.

    Validation examples come from the corpus's own validation part where it has one, else from its training
    part, and then none of them is learnt from.

    Args:
        data: all examples.
        selection: how many of them.

    Raises:
        GraftworkError: the corpus has fewer examples than asked for.

    >>> examples = [LabelledExample((f"text {number}",), number % 2) for number in range(20)]
    >>> parts = draw_parts(LabelledData(("a", "b"), examples, ()), ClassSelection(shots_per_class=3))
    >>> len(parts.train), len(parts.validation), sum(example.label for example in parts.train)
    (6, 6, 3)
    """
    if selection.shots_per_class is None:
        return draw_by_number(data.train, data.validation, data.test, selection)
    stream = np.random.default_rng([selection.data_seed, 0])
    train = _shuffled(data.train, stream)
    validation = _shuffled(data.validation, stream)
    shots, labels = selection.shots_per_class, data.labels
    drawn, rest = _each_class(validation or train, shots, labels, "validation")
    chosen, _ = _each_class(train if validation else rest, shots, labels, "training")
    return Parts(tuple(chosen), tuple(drawn), _tested(data.test, selection))


def draw_by_number(
    train: Sequence[_Example],
    validation: Sequence[_Example],
    test: Sequence[_Example],
    selection: Selection,
) -> Parts[_Example]:
    """Draw so many examples of any kind for training, validation and test.

    Args:
        train: all to learn from.
        validation: all for validation; none where they are to be drawn from ``train``.
        test: all for the last word.
        selection: how many of them, not by class.

    Raises:
        GraftworkError: there are fewer examples than asked for.

    >>> parts = draw_by_number(range(9), (), range(3), Selection(validation_examples=2))
    >>> len(parts.train), len(parts.validation), len(parts.test)
    (7, 2, 3)
    """
    stream = np.random.default_rng([selection.data_seed, 0])
    learnt = _shuffled(train, stream)
    given = _shuffled(validation, stream)
    wanted = selection.validation_examples
    if wanted is None:
        wanted = len(given) or min(_DRAWN_VALIDATION, max(len(learnt) // 5, 1))
    drawn, rest = _first(given or learnt, wanted, "validation_examples")
    left = learnt if given else rest
    chosen, _ = _first(left, selection.train_examples, "train_examples")
    tested = _tested(test, selection)
    for name, part in (("training", chosen), ("validation", drawn)):
        if not part:
            raise GraftworkError(f"the data leaves no {name} examples")
    return Parts(tuple(chosen), tuple(drawn), tested)


def _tested(test: Sequence[_Example], selection: Selection) -> tuple[_Example, ...]:
    shuffled = _shuffled(test, np.random.default_rng([0, _TEST_STREAM]))
    return tuple(_first(shuffled, selection.test_examples, "test_examples")[0])


def _shuffled(examples: Sequence[_Example], stream: np.random.Generator) -> list[_Example]:
    return [examples[index] for index in stream.permutation(len(examples))]


def _first(
    examples: Sequence[_Example], wanted: int | None, option: str
) -> tuple[Sequence[_Example], Sequence[_Example]]:
    """So many, or all, and the rest."""
    count = len(examples) if wanted is None else wanted
    if count > len(examples):
        raise GraftworkError(f"{option} must be at most {len(examples)}, which the data has; got {count}")
    return examples[:count], examples[count:]


def _each_class(
    examples: Sequence[LabelledExample], count: int, labels: Sequence[str], part: str
) -> tuple[Sequence[LabelledExample], Sequence[LabelledExample]]:
    taken: Counter[int] = Counter()
    chosen: list[LabelledExample] = []
    rest: list[LabelledExample] = []
    for example in examples:
        wanted = taken[example.label] < count
        taken[example.label] += wanted
        (chosen if wanted else rest).append(example)
    for number, name in enumerate(labels):
        if taken[number] < count:
            raise GraftworkError(
                f"shots_per_class = {count}: the data has {taken[number]} {part} example(s) left of label "
                f"{name!r}; choose a smaller number"
            )
    return chosen, rest
