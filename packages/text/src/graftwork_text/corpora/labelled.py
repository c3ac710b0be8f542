"""What labelled text is: examples of one or more texts with a label, in up to three parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from graftwork_text.corpora.corpus import Source
from graftwork_text.corpora.remarks import Remark


@dataclass(frozen=True, slots=True)
class LabelledExample:
    """One example.

    Args:
        texts: one for each of the corpus's fields.
        label: position of its name in the labels of the data.
    """

    texts: tuple[str, ...]
    label: int


@dataclass(frozen=True, slots=True)
class LabelledData:
    """The examples of a corpus, read.

    Args:
        labels: names of the classes, in the order of their numbers.
        train: to learn from.
        test: held out for the last word.
        validation: held out for choices along the way; empty where it is to be drawn from ``train``.
        remarks: on what was found in the data.

    >>> data = LabelledData(("bad", "good"), (LabelledExample(("Fine.",), 1),), ())
    >>> data.labels[data.train[0].label]
    'good'
    """

    labels: tuple[str, ...]
    train: Sequence[LabelledExample]
    test: Sequence[LabelledExample]
    validation: Sequence[LabelledExample] = ()
    remarks: tuple[Remark, ...] = ()

    def numbered_by(self, labels: tuple[str, ...]) -> LabelledData:
        """The same examples with other numbers of their labels; as they are where one is not among them.

        Args:
            labels: names in the order of their numbers, more than these maybe.

        >>> data = LabelledData(("bad", "good"), (LabelledExample(("Fine.",), 1),), ())
        >>> data.numbered_by(("good", "bad", "worse")).train[0].label
        0
        """
        if labels == self.labels or not set(self.labels) <= set(labels):
            return self
        number = [labels.index(label) for label in self.labels]
        train, test, validation = (
            tuple(replace(example, label=number[example.label]) for example in part)
            for part in (self.train, self.test, self.validation)
        )
        return replace(self, labels=labels, train=train, test=test, validation=validation)


@dataclass(frozen=True)
class LabelledCorpus(Source):
    """Labelled text that can be read, and what determines it.

    Args:
        name: the registered name, or the path as the user gave it.
        identity: everything that determines the examples (package versions, digests), as plain text.
        fields: names of the texts of an example, in order; a template refers to them.
        read: returns the examples, in the same order each time.
    """

    holds: ClassVar[str] = "labelled examples"

    fields: tuple[str, ...]
    read: Callable[[], LabelledData]
