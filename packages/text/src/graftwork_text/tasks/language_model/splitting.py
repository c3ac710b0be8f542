"""Training documents and held-out ones, with nothing said in both; held on disk, not in memory.

Texts are the same where they differ in white space or case alone
(:mod:`~graftwork_text.corpora.sameness`). Of documents that are the same the first is kept. A part (a
paragraph; of text without blank lines a line, of text that was cut at sentences such a one) of a validation
document that also stands in a training document is cut out of the validation document. One that stands in a
test text is cut out of the training documents, since a test text is given and stays as it is. Training
documents are compared by their own parts and by parts like those that are held out.

In memory are a few numbers for each document, and one for each part of those that are held out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import GraftworkError
from graftwork.realdata import split_fraction
from graftwork_text.corpora import Document
from graftwork_text.corpora.corpus import PARTS
from graftwork_text.corpora.sameness import fingerprint
from graftwork_text.tasks.language_model.text_store import TextStore

Fingerprints = NDArray[np.uint64]
_BETWEEN = tuple(PARTS)
_PARTS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Tested:
    """What must not be learnt from, since a test text has it.

    Args:
        fingerprints: of its documents, paragraphs, lines and sentences, in order, each once.
        whole: the same of its documents and of their own parts alone.
        between: what stands between those.
    """

    fingerprints: Fingerprints
    whole: Fingerprints
    between: frozenset[str]


def tested_text(documents: Iterable[Document]) -> Tested:
    """What of a test text must not be learnt from."""
    found, whole, between = array("Q"), array("Q"), set()
    for document in documents:
        if document.text.strip():
            between.add(document.between)
            whole.append(fingerprint(document.text))
            for own, parts in PARTS.items():
                fingerprints = [fingerprint(part) for part in parts.split(document.text) if part.strip()]
                (whole if own == document.between else found).extend(fingerprints)
    return Tested(_set_of(found + whole), _set_of(whole), frozenset(between))


class SplitDocuments:
    """The two parts of a corpus, by a stable hash of each document's identifier.

    A document stays on its side as others come. Each part gets at least one document.

    Args:
        documents: two or more different ones; read once.
        validation_fraction: expected share of held-out documents, between 0 and 1.
        store: an empty one, for the texts.
        tested: of a test text, see :func:`tested_text`.

    Attributes:
        documents: how many were read.
        blank_documents: how many of them are without any text.
        duplicate_documents: how many have the text of one before.
        shared_parts: how many parts were cut out of validation documents.
        tested_parts: how many parts were cut out of training documents.

    Raises:
        GraftworkError: there are fewer than two different documents, or the held-out ones say nothing new, or
            all of the others is held out too.
    """

    def __init__(
        self,
        documents: Iterable[Document],
        validation_fraction: float,
        store: TextStore,
        tested: Tested | None = None,
    ) -> None:
        self._store = store
        self._tested = tested
        self._between = array("B")
        self.documents = self.blank_documents = 0
        fingerprints, fractions = array("Q"), array("d")
        for document in documents:
            self.documents += 1
            if not document.text or document.text.isspace():
                self.blank_documents += 1
                continue
            store.append(document.text)
            self._between.append(_BETWEEN.index(document.between))
            fingerprints.append(fingerprint(document.text))
            fractions.append(split_fraction(document.identifier))
        self._assign(_numbers(fingerprints), np.array(fractions, np.float64), validation_fraction)
        self.shared_parts = self.tested_parts = 0
        self._shared = self._shared_with_training()
        if not self._count_validation():
            raise GraftworkError("every part of the held-out documents also stands in a training document")

    def train_texts(self) -> Iterator[str]:
        """The texts to learn from, in the corpus's order."""
        return (text for text, _, _ in self._learnt() if text)

    def validation_texts(self) -> Iterator[str]:
        """The held-out texts, in the order of their hashes."""
        return (text for text, _ in self._validated() if text)

    def _assign(
        self, fingerprints: Fingerprints, fractions: NDArray[np.float64], validation_fraction: float
    ) -> None:
        first = np.sort(np.unique(fingerprints, return_index=True)[1])
        self.duplicate_documents = len(fingerprints) - len(first)
        if len(first) < 2:
            raise GraftworkError(
                f"found {len(first)} document(s) with text of their own, and at least 2 are needed: one to "
                f"learn from and one to hold out ({self.documents} read, {self.blank_documents} of them "
                f"blank, {self.duplicate_documents} with the text of another)"
            )
        by_hash = first[np.argsort(fractions[first], kind="stable")]
        held_out = int((fractions[first] < validation_fraction).sum())
        held_out = min(max(held_out, 1), len(by_hash) - 1)
        self._train, self._validation = np.sort(by_hash[held_out:]), by_hash[:held_out]

    def _shared_with_training(self) -> Fingerprints:
        """The parts of validation documents that stand in training documents too."""
        parts, held_out = array("Q"), set()
        for text, between in self._texts(self._validation):
            held_out.add(between)
            parts.extend(fingerprint(part) for part in PARTS[between].split(text) if part.strip())
        validated = _set_of(parts)
        shared = np.zeros(len(validated), np.bool_)
        learnt, count = array("Q"), 0
        for text, between, cut in self._learnt():
            self.tested_parts += cut
            if text:
                count += 1
                for own in held_out | {between}:
                    learnt.extend(map(fingerprint, PARTS[own].split(text)))
            if len(learnt) > _PARTS_AT_ONCE:
                _mark(shared, validated, learnt)
                learnt = array("Q")
        _mark(shared, validated, learnt)
        if not count:
            raise GraftworkError(
                "every part of the training documents also stands in the test text: nothing is left to learn "
                "from"
            )
        return validated[shared]

    def _count_validation(self) -> int:
        """How many validation documents have something left; how many parts were cut is noted."""
        count = 0
        for text, cut in self._validated():
            self.shared_parts += cut
            count += bool(text)
        return count

    def _learnt(self) -> Iterator[tuple[str, str, int]]:
        """Training texts without what is tested, what stands between their parts, and how many were cut."""
        for text, between in self._texts(self._train):
            rest, cut = text, 0
            if self._tested is not None:
                rest, cut = _without_tested(text, between, self._tested)
            yield rest, between, cut

    def _validated(self) -> Iterator[tuple[str, int]]:
        """Validation texts without what is learnt, and how many parts were cut."""
        for text, between in self._texts(self._validation):
            yield _without(text, between, self._shared)

    def _texts(self, numbers: NDArray[np.int64]) -> Iterator[tuple[str, str]]:
        """Texts with what stands between their parts."""
        for number, text in zip(numbers.tolist(), self._store.texts(numbers.tolist()), strict=True):
            yield text, _BETWEEN[self._between[number]]


def _without_tested(text: str, between: str, tested: Tested) -> tuple[str, int]:
    """A text without what is tested, and how many parts that were.

    By parts like its own or the test text's, any part of that counts; by others only what it says as a whole.
    """
    if _is_among(_numbers([fingerprint(text)]), tested.fingerprints)[0]:
        return "", 1
    total = 0
    for own in PARTS:
        alike = own == between or own in tested.between
        text, cut = _without(text, own, tested.fingerprints if alike else tested.whole)
        total += cut
    return text, total


def _without(text: str, between: str, unwanted: Fingerprints) -> tuple[str, int]:
    """A text without some of its parts, and how many they were."""
    parts = PARTS[between].split(text)
    cut = _is_among(_numbers(map(fingerprint, parts)), unwanted).tolist()
    if not any(cut):
        return text, 0
    rest = between.join(part for part, is_cut in zip(parts, cut, strict=True) if not is_cut)
    return rest.strip(), sum(cut)


def _numbers(fingerprints: Iterable[int]) -> Fingerprints:
    return np.array(fingerprints if isinstance(fingerprints, Sequence) else list(fingerprints), np.uint64)


def _set_of(fingerprints: Iterable[int]) -> Fingerprints:
    return np.unique(_numbers(fingerprints))


def _is_among(fingerprints: Fingerprints, among: Fingerprints) -> NDArray[np.bool_]:
    if not len(among):
        return np.zeros(len(fingerprints), np.bool_)
    found: NDArray[np.bool_] = among[_places(fingerprints, among)] == fingerprints
    return found


def _mark(marks: NDArray[np.bool_], among: Fingerprints, fingerprints: Iterable[int]) -> None:
    """Mark those of a set that are among some fingerprints."""
    numbers = _numbers(fingerprints)
    marks[_places(numbers, among)[_is_among(numbers, among)]] = True


def _places(fingerprints: Fingerprints, among: Fingerprints) -> NDArray[np.int64]:
    """Where each would stand in a set, which is not empty."""
    return np.minimum(np.searchsorted(among, fingerprints), len(among) - 1)
