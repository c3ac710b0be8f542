"""The examples of one experiment: a few of each class, or so many in all, drawn by a seed.

``shots_per_class`` examples of every class to learn from and as many for validation, as in few-shot protocols
(16 a class, five data seeds); or numbers of examples for each part (1000 / 500 / 1000 in MeZO and LOZO). The
test part does not depend on the data seed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from graftwork.errors import GraftworkError
from graftwork_text.corpora import LabelledData, LabelledExample

# Its own stream, so that the test part is the same whatever the data seed is.
_TEST_STREAM = 1
_DRAWN_VALIDATION = 500
_Example = TypeVar("_Example")


@dataclass(frozen=True, slots=True)
class SubsetSizes:
    """How many examples each part gets.

    Args:
        shots_per_class: examples of every class in the training part and in the validation part each; None
            for parts by number.
        train: examples to learn from; None for all that are left.
        validation: examples for validation; None for all of the corpus's own validation part, or for 500 (at
            most a fifth of the training part) where it has none.
        test: test examples; None for all.

    Raises:
        ValueError: a number is below 1, or shots_per_class goes with other numbers.
    """

    shots_per_class: int | None = None
    train: int | None = None
    validation: int | None = None
    test: int | None = None

    def __post_init__(self) -> None:
        options = {
            "shots_per_class": self.shots_per_class,
            "train_examples": self.train,
            "validation_examples": self.validation,
            "test_examples": self.test,
        }
        for option, value in options.items():
            if value is not None and value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        if self.shots_per_class is not None:
            for option in ("train_examples", "validation_examples"):
                if options[option] is not None:
                    raise ValueError(
                        f"{option} must be left out with shots_per_class = {self.shots_per_class}, which "
                        f"decides both parts; got {options[option]}"
                    )


@dataclass(frozen=True, slots=True)
class Parts:
    """The examples of one experiment.

    Args:
        train: to learn from.
        validation: to choose by.
        test: for the last word.
    """

    train: tuple[LabelledExample, ...]
    validation: tuple[LabelledExample, ...]
    test: tuple[LabelledExample, ...]

    def digest(self) -> str:
        """SHA-256 over every example of every part, in order."""
        total = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            for example in part:
                total.update("\x1f".join((*example.texts, str(example.label))).encode("utf-8", "replace"))
                total.update(b"\x1e")
            total.update(b"\x1d")
        return total.hexdigest()


def draw_parts(data: LabelledData, sizes: SubsetSizes, *, data_seed: int) -> Parts:
    """Draw the examples of one experiment.

    Validation examples come from the corpus's own validation part where it has one, else from its training
    part, and then none of them is learnt from.

    Args:
        data: all examples.
        sizes: how many of them.
        data_seed: of the training and the validation part, 0 or more.

    Raises:
        GraftworkError: the corpus has fewer examples than asked for.

    >>> examples = [LabelledExample((f"text {number}",), number % 2) for number in range(20)]
    >>> parts = draw_parts(LabelledData(("a", "b"), examples, ()), SubsetSizes(3), data_seed=13)
    >>> len(parts.train), len(parts.validation), sum(example.label for example in parts.train)
    (6, 6, 3)
    """
    if sizes.shots_per_class is None:
        return Parts(*draw_by_number(data.train, data.validation, data.test, sizes, data_seed=data_seed))
    stream = np.random.default_rng([data_seed, 0])
    train = _shuffled(data.train, stream)
    validation = _shuffled(data.validation, stream)
    drawn, rest = _each_class(validation or train, sizes.shots_per_class, data.labels, "validation")
    chosen, _ = _each_class(train if validation else rest, sizes.shots_per_class, data.labels, "training")
    return Parts(tuple(chosen), tuple(drawn), _tested(data.test, sizes))


def draw_by_number(
    train: Sequence[_Example],
    validation: Sequence[_Example],
    test: Sequence[_Example],
    sizes: SubsetSizes,
    *,
    data_seed: int,
) -> tuple[tuple[_Example, ...], tuple[_Example, ...], tuple[_Example, ...]]:
    """Draw so many examples of any kind for training, validation and test.

    Args:
        train: all to learn from.
        validation: all for validation; none where they are to be drawn from ``train``.
        test: all for the last word.
        sizes: how many of them, not by class.
        data_seed: of the training and the validation part, 0 or more.

    Raises:
        GraftworkError: there are fewer examples than asked for.

    >>> parts = draw_by_number(range(9), (), range(3), SubsetSizes(validation=2), data_seed=0)
    >>> [len(part) for part in parts]
    [7, 2, 3]
    """
    stream = np.random.default_rng([data_seed, 0])
    learnt = _shuffled(train, stream)
    given = _shuffled(validation, stream)
    wanted = sizes.validation
    if wanted is None:
        wanted = len(given) or min(_DRAWN_VALIDATION, max(len(learnt) // 5, 1))
    drawn, rest = _first(given or learnt, wanted, "validation_examples")
    left = learnt if given else rest
    chosen, _ = _first(left, len(left) if sizes.train is None else sizes.train, "train_examples")
    tested = _tested(test, sizes)
    for name, part in (("training", chosen), ("validation", drawn)):
        if not part:
            raise GraftworkError(f"the data leaves no {name} examples")
    return tuple(chosen), tuple(drawn), tested


def _tested(test: Sequence[_Example], sizes: SubsetSizes) -> tuple[_Example, ...]:
    shuffled = _shuffled(test, np.random.default_rng([0, _TEST_STREAM]))
    return tuple(_first(shuffled, len(shuffled) if sizes.test is None else sizes.test, "test_examples")[0])


def _shuffled(examples: Sequence[_Example], stream: np.random.Generator) -> list[_Example]:
    return [examples[index] for index in stream.permutation(len(examples))]


def _first(
    examples: Sequence[_Example], count: int, option: str
) -> tuple[Sequence[_Example], Sequence[_Example]]:
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
