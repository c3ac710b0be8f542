"""Splits by document, without leaks, and as a plain reading of the rule has them."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from graftwork import GraftworkError
from graftwork.realdata import split_fraction
from graftwork_text.corpora import Document
from graftwork_text.corpora.sameness import evened
from graftwork_text.tasks.language_model.splitting import SplitDocuments

Split = Callable[..., SplitDocuments]


def documents(count: int) -> list[Document]:
    return [
        Document(f"document-{number}", f"This is the text of number {number}.") for number in range(count)
    ]


def split_in_memory(given: list[Document], fraction: float) -> tuple[list[str], list[str]]:
    """The rule, written down with everything in memory."""
    unique: dict[str, Document] = {}
    for document in given:
        if document.text.strip():
            unique.setdefault(evened(document.text), document)
    by_hash = sorted(unique.values(), key=lambda document: split_fraction(document.identifier))
    count = sum(split_fraction(document.identifier) < fraction for document in by_hash)
    held_out = by_hash[: min(max(count, 1), len(by_hash) - 1)]
    train = [document.text for document in unique.values() if document not in held_out]
    learnt = {evened(block) for text in train for block in re.split(r"\n\s*\n", text)}
    validation = []
    for document in held_out:
        blocks = re.split(r"\n\s*\n", document.text)
        kept = [block for block in blocks if not block.strip() or evened(block) not in learnt]
        validation.append(document.text if kept == blocks else "\n\n".join(kept).strip())
    return train, [text for text in validation if text]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("fraction", [0.05, 0.5])
def test_split_is_that_of_the_rule_in_memory(split: Split, seed: int, fraction: float) -> None:
    draw = random.Random(seed)
    paragraphs = [f"Paragraph {n % 40} {'and more ' * (n % 3)}" for n in range(80)]
    written = [str, str.upper, str.title, lambda text: f"{text}\n\n", lambda text: f"\n \n{text}"]
    given = [
        Document(
            f"{seed}/{number}",
            "\n\n".join(draw.choice(written)(draw.choice(paragraphs)) for _ in range(draw.randint(0, 3))),
        )
        for number in range(200)
    ]
    given += [Document(f"{seed}/of-its-own", "Nothing else says this."), *documents(30)]
    parts = split(given, fraction)
    assert (list(parts.train_texts()), list(parts.validation_texts())) == split_in_memory(given, fraction)
    assert parts.documents == 231
    assert parts.blank_documents == sum(not document.text.strip() for document in given)


def test_documents_stay_where_they_are_as_others_come(split: Split) -> None:
    before, after = split(documents(200), 0.1), split(documents(300), 0.1)
    assert set(before.validation_texts()) <= set(after.validation_texts())
    assert set(before.train_texts()) <= set(after.train_texts())


def test_duplicates_and_blank_documents_are_left_out_and_counted(split: Split) -> None:
    written = [
        "This  is the\ntext of number 3.",
        "THIS IS THE TEXT OF NUMBER 3.",
        "\ufeffthis is the text of number 3. ",
    ]
    copies = [Document(f"copy-{number}", written[number % 3]) for number in range(50)]
    parts = split([*documents(20), *copies, Document("empty", " \n "), Document("none", "")], 0.3)
    texts = [*parts.train_texts(), *parts.validation_texts()]
    assert sorted(texts) == sorted(document.text for document in documents(20))
    assert (parts.documents, parts.duplicate_documents, parts.blank_documents) == (72, 50, 2)


@pytest.mark.parametrize("written", [str, str.upper, lambda text: text.replace(" ", "  ")])
@pytest.mark.parametrize("between", ["\n\n", "\n", " "])
def test_shared_parts_are_cut_out_of_held_out_documents(
    split: Split, between: str, written: Callable[[str], str]
) -> None:
    shared = "All rights are reserved by nobody."
    given = [
        Document(
            document.identifier,
            between.join([document.text, written(shared) if number % 2 else shared, f"End of {number}."]),
            between,
        )
        for number, document in enumerate(documents(100))
    ]
    parts = split(given, 0.2)
    validation = list(parts.validation_texts())
    assert all("reserved" in text.casefold() for text in parts.train_texts())
    assert not any("reserved" in text.casefold() for text in validation)
    assert all(len(Document("", text, between).parts()) == 2 for text in validation)
    assert parts.shared_parts == len(validation)


@pytest.mark.parametrize("between", ["\n\n", "\n", " "])
def test_what_a_test_text_has_is_not_learnt_from(split: Split, between: str) -> None:
    given = [
        Document(f"{number}", between.join(f"Part {part} of {number}." for part in range(3)), between)
        for number in range(50)
    ]
    before = split(given, 0.1)
    a, b, c = [given.index(document) for document in given if document.text in set(before.train_texts())][:3]
    tested = [Document("test", f"PART 1  of {a}.\n\nNew.\n\npart 2 of {b}."), Document("one", given[c].text)]
    after = split(given, 0.1, tested)
    assert list(after.validation_texts()) == list(before.validation_texts())
    learnt = list(after.train_texts())
    gone = [text for text in before.train_texts() if text not in learnt]
    assert gone == [given[number].text for number in (a, b, c)]
    assert between.join([f"Part 0 of {a}.", f"Part 2 of {a}."]) in learnt
    assert between.join([f"Part 0 of {b}.", f"Part 1 of {b}."]) in learnt
    assert (before.tested_parts, after.tested_parts) == (0, 3)


@pytest.mark.parametrize("tested", ["\n\n", "\n", " "])
@pytest.mark.parametrize("between", ["\n\n", "\n", " "])
def test_a_test_text_is_found_however_either_was_cut(split: Split, between: str, tested: str) -> None:
    given = [
        Document(f"{number}", between.join(f"Sentence {part} of {number}." for part in range(3)), between)
        for number in range(50)
    ]
    held_out = tested.join(["New.", *(f"Sentence 1 of {number}." for number in range(50)), "Newer."])
    learnt = list(split(given, 0.1, [Document("test", held_out, tested)]).train_texts())
    assert len(learnt) > 40
    assert not any("Sentence 1 of" in text for text in learnt)
    assert all("Sentence 0 of" in text and "Sentence 2 of" in text for text in learnt)


@pytest.mark.parametrize("kind", ["\n\n", "\n"])
@pytest.mark.parametrize("own", ["\n\n", "\n", " "])
def test_a_test_text_that_is_one_part_is_found_among_parts_of_any_kind(
    split: Split, own: str, kind: str
) -> None:
    given = [
        Document(f"{number}", own.join([f"Start {number}.", "The secret line.", f"End {number}."]), kind)
        for number in range(20)
    ]
    parts = split(given, 0.2, [Document("test", "The secret line.")])
    learnt = list(parts.train_texts())
    assert not any("secret" in text for text in learnt)
    assert all("Start" in text and "End" in text for text in learnt)
    assert parts.tested_parts == len(learnt) > 10


def test_lines_of_a_test_text_of_paragraphs_are_learnt_from_elsewhere(split: Split) -> None:
    """Only what it says as a whole is not: else every short sentence of it would be gone."""
    given = [Document(f"{number}", f"Number {number}.\nYes. No.") for number in range(20)]
    parts = split(given, 0.2, [Document("test", "Is it?\nYes. No.\n\nIt is. Yes. No.")])
    assert all(text.endswith("\nYes. No.") for text in parts.train_texts())
    assert parts.tested_parts == 0


def test_lines_of_held_out_documents_are_not_learnt_from_as_part_of_paragraphs(split: Split) -> None:
    given = [
        Document(f"{number}", f"Of {number}.\nShared.\nMore of {number}.\n\nEnd {number}.\n")
        for number in range(20)
    ]
    held_out = {*given} - {document for document in given if split_fraction(document.identifier) >= 0.2}
    given = [
        Document(one.identifier, one.text.replace("\n\n", "\n"), "\n") if one in held_out else one
        for one in given
    ]
    parts = split(given, 0.2)
    validation = list(parts.validation_texts())
    assert len(validation) == len(held_out) > 1
    assert not any("Shared." in text for text in validation)
    assert all("\nMore of" in text for text in validation)
    assert parts.shared_parts == len(validation), "ends of files are no parts"


def test_a_test_text_that_is_all_of_the_text(split: Split) -> None:
    with pytest.raises(
        GraftworkError, match="every part of the training documents also stands in the test text"
    ):
        split(documents(20), 0.1, documents(20))


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_each_part_gets_a_document(split: Split, fraction: float) -> None:
    parts = split(documents(2), fraction)
    assert len(list(parts.train_texts())) == len(list(parts.validation_texts())) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_documents(split: Split, count: int) -> None:
    blank = [Document("blank", "\n")]
    with pytest.raises(
        GraftworkError, match=rf"found {count} document.*\({2 * count + 1} read, 1 of them blank, {count} "
    ):
        split([*documents(count), *documents(count), *blank], 0.1)


def test_nothing_new_held_out(split: Split) -> None:
    given = [Document("a", "one\n\ntwo"), Document("b", "two\n\none\n\nTwo")]
    with pytest.raises(GraftworkError, match="also stands in a training document"):
        split(given, 0.5)


def test_half_a_character_becomes_a_question_mark(split: Split) -> None:
    given = [Document("a", "one \ud83d"), Document("b", "two \ud83d")]
    parts = split(given, 0.5)
    assert {*parts.train_texts(), *parts.validation_texts()} == {"one ?", "two ?"}


def test_a_corpus_is_not_held_in_memory(split: Split) -> None:
    def stream() -> Iterator[Document]:
        for number in range(1500):
            yield Document(str(number), f"{'long' * 30}{number}, " * 12)

    tracemalloc.start()
    try:
        parts = split(stream(), 0.05)
        characters = sum(map(len, parts.train_texts())) + sum(map(len, parts.validation_texts()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert characters > 2_000_000
    assert peak < characters / 5
