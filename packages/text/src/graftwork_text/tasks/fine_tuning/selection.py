"""The examples of one experiment: a few of each class, or so many in all, drawn by a seed.

``shots_per_class`` examples of every class to learn from and as many for validation, as in few-shot protocols
(16 a class, five data seeds); or numbers of examples for each part (1000 / 500 / 1000 in MeZO and LOZO), in
whose proportion data that has fewer is shared out. The test part does not depend on the data seed. What
stands in a held-out part, given or drawn, is not learnt from, however often the data has it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np

from graftwork.errors import GraftworkError
from graftwork_text.corpora import LabelledData, LabelledExample
from graftwork_text.corpora.sameness import fingerprint
from graftwork_trainer.keeping_apart import HELD_OUT_COPIES, apart_from

Split = Literal["train", "validation", "test"]
# Its own stream, so that the test part is the same whatever the data seed is.
_TEST_STREAM = 1
_DRAWN_VALIDATION = 500
_Example = TypeVar("_Example")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which examples of the data an experiment gets.

    Args:
        train_examples: examples to learn from, as far as the data has so many; none for all.
        validation_examples: examples for validation, as far as the data has so many; none for all of the
            data's own validation part, or else for 500 (at most a fifth), drawn from those to learn from.
        test_examples: test examples, as far as the data has so many; none for all.
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
        copies: how many examples to learn from were left out, since they stand in another part too.
    """

    train: tuple[_Example, ...]
    validation: tuple[_Example, ...]
    test: tuple[_Example, ...]
    copies: int = 0

    def of(self, split: Split) -> tuple[_Example, ...]:
        """One of them."""
        part: tuple[_Example, ...] = getattr(self, split)
        return part

    def all(self) -> Iterator[_Example]:
        """Every example, part by part."""
        return itertools.chain(self.train, self.validation, self.test)

    def smaller_than(self, selection: Selection) -> str | None:
        """What is to be said where the data has fewer examples than were asked for.

        Args:
            selection: that they were drawn by.

        >>> Parts((1, 2), (3,), ()).smaller_than(Selection(train_examples=8, validation_examples=1))
        'fewer examples than asked for: 2 to learn from (train_examples = 8)'
        """
        of_option = {
            "train_examples": (self.train, "to learn from"),
            "validation_examples": (self.validation, "for validation"),
            "test_examples": (self.test, "for the test"),
        }
        fewer = [
            f"{len(part)} {purpose} ({option} = {asked})"
            for option, (part, purpose) in of_option.items()
            if (asked := getattr(selection, option)) is not None and len(part) < asked
        ]
        return f"fewer examples than asked for: {', '.join(fewer)}" if fewer else None

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
            **({HELD_OUT_COPIES: self.copies} if self.copies else {}),
        }


def draw_parts(
    data: LabelledData, selection: ClassSelection, *, where: str = "task.data"
) -> Parts[LabelledExample]:
    """Draw the examples of one experiment.

    Validation examples come from the corpus's own validation part where it has one, else from its training
    part, and then none of them is learnt from.

    Args:
        data: all examples.
        selection: how many of them.
        where: they lie, for messages.

    Raises:
        GraftworkError: a class has fewer examples than its shots, or a part would have none.

    >>> examples = [LabelledExample((f"text {number}",), number % 2) for number in range(20)]
    >>> parts = draw_parts(LabelledData(("a", "b"), examples, ()), ClassSelection(shots_per_class=3))
    >>> len(parts.train), len(parts.validation), sum(example.label for example in parts.train)
    (6, 6, 3)
    """
    if selection.shots_per_class is None:
        return draw_by_number(data.train, data.validation, data.test, selection, key=_key, where=where)
    stream = np.random.default_rng([selection.data_seed, 0])
    train = _shuffled(data.train, stream)
    validation = _shuffled(data.validation, stream)
    learnt = apart_from(train, [*data.test, *validation], _key)
    if not learnt and train:
        return Parts((), (), _tested(data.test, selection), len(train))
    shots, labels = selection.shots_per_class, data.labels
    # Of examples that are the same the first is drawn from, so that none is left for the other part.
    once = learnt if validation else _each_once(learnt)
    _refuse_more_shots(shots, labels, once, validation)
    drawn, rest = _each_class(validation or once, shots)
    chosen, _ = _each_class(once if validation else rest, shots)
    kept = len(learnt) if validation else len(apart_from(learnt, drawn, _key)) + len(drawn)
    return Parts(tuple(chosen), tuple(drawn), _tested(data.test, selection), len(train) - kept)


def draw_by_number(
    train: Sequence[_Example],
    validation: Sequence[_Example],
    test: Sequence[_Example],
    selection: Selection,
    *,
    key: Callable[[_Example], Hashable],
    where: str = "task.data",
) -> Parts[_Example]:
    """Draw so many examples of any kind for training, validation and test.

    Args:
        train: all to learn from.
        validation: all for validation; none where they are to be drawn from ``train``.
        test: all for the last word.
        selection: how many of them, not by class.
        key: what makes an example the same as another.
        where: they lie, for messages.

    Where there are fewer examples than asked for, training and validation share them in proportion. Where all
    that there is to learn from is held out too, there is a test part alone.

    Raises:
        GraftworkError: a part would have none.

    >>> parts = draw_by_number(range(9), (), range(20, 23), Selection(validation_examples=2), key=int)
    >>> len(parts.train), len(parts.validation), len(parts.test)
    (7, 2, 3)
    >>> fewer = Selection(train_examples=1000, validation_examples=500, test_examples=1000)
    >>> parts = draw_by_number(range(9), (), range(20, 23), fewer, key=int)
    >>> len(parts.train), len(parts.validation), len(parts.test)
    (6, 3, 3)
    >>> draw_by_number([1, 2, 3, 3], [3], [4], Selection(), key=int).copies
    2
    """
    stream = np.random.default_rng([selection.data_seed, 0])
    shuffled = _shuffled(train, stream)
    given = _shuffled(validation, stream)
    learnt = apart_from(shuffled, [*test, *given], key)
    if not learnt and shuffled:
        return Parts((), (), _tested(test, selection), len(shuffled))
    if given:
        drawn, left = given[: selection.validation_examples], learnt
    else:
        count = _for_validation(len(learnt), selection)
        drawn = learnt[:count]
        left = apart_from(learnt[count:], drawn, key)
        learnt = [*drawn, *left]
    chosen = left[: selection.train_examples]
    if not chosen or not drawn:
        repeated = len(shuffled) - len(learnt)
        raise GraftworkError(
            f"{where} has {len(learnt) + len(given)} example(s) beside the test part"
            f"{f' (and {repeated} that stand in a held-out part too)' if repeated else ''}, and at least 2 "
            "are needed: one to learn from and one for validation"
        )
    return Parts(tuple(chosen), tuple(drawn), _tested(test, selection), len(shuffled) - len(learnt))


def _key(example: LabelledExample) -> int:
    return fingerprint(*example.texts)


def _each_once(examples: Sequence[LabelledExample]) -> list[LabelledExample]:
    first: dict[int, LabelledExample] = {}
    for example in examples:
        first.setdefault(_key(example), example)
    return list(first.values())


def _for_validation(count: int, selection: Selection) -> int:
    """How many of so many examples to draw for validation, the others being for training."""
    trained, validated = selection.train_examples, selection.validation_examples
    if validated is not None and validated + (trained or 1) <= count:
        return validated
    if validated is not None and trained is not None:
        return max(count * validated // (validated + trained), 1)
    return min(validated or _DRAWN_VALIDATION, max(count // 5, 1))


def _tested(test: Sequence[_Example], selection: Selection) -> tuple[_Example, ...]:
    return tuple(_shuffled(test, np.random.default_rng([0, _TEST_STREAM]))[: selection.test_examples])


def _shuffled(examples: Sequence[_Example], stream: np.random.Generator) -> list[_Example]:
    return [examples[index] for index in stream.permutation(len(examples))]


def _each_class(
    examples: Sequence[LabelledExample], count: int
) -> tuple[Sequence[LabelledExample], Sequence[LabelledExample]]:
    """So many of each class, and the rest."""
    taken: Counter[int] = Counter()
    chosen: list[LabelledExample] = []
    rest: list[LabelledExample] = []
    for example in examples:
        wanted = taken[example.label] < count
        taken[example.label] += wanted
        (chosen if wanted else rest).append(example)
    return chosen, rest


def _refuse_more_shots(
    shots: int,
    labels: Sequence[str],
    train: Sequence[LabelledExample],
    validation: Sequence[LabelledExample],
) -> None:
    """Refuse more shots than the rarest class has: fewer would be another protocol, which users name."""
    learnt, held = (Counter(example.label for example in part) for part in (train, validation))
    most = {
        name: min(learnt[number], held[number]) if validation else learnt[number] // 2
        for number, name in enumerate(labels)
    }
    rarest = min(most, key=lambda name: most[name])
    if most[rarest] < shots:
        raise GraftworkError(
            f"shots_per_class = {shots}: the examples of label {rarest!r} are enough for {most[rarest]} "
            "(each class needs as many for validation as to learn from)"
        )
