"""How one text becomes documents: as a plain reading of the rule has it, and without holding a long text."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Iterator

import pytest

from graftwork_text.corpora.cutting import cut

CUTS = ((r"\n\s*\n", "\n\n"), (r"\n", "\n"), (r"(?<=[.!?])\s+", " "))


def in_memory(text: str) -> list[tuple[str, str]]:
    """The rule, written down with everything in memory."""
    documents: list[tuple[str, str]] = []
    for pattern, between in CUTS:
        for smallest in (2000, len(text) // 10):
            documents, gathered = [], []
            for piece in [piece.strip() for piece in re.split(pattern, text) if piece.strip()]:
                gathered.append(piece)
                if sum(map(len, gathered)) >= smallest:
                    documents.append((between.join(gathered), between))
                    gathered = []
            documents += [(between.join(gathered), between)] if gathered else []
            if len(documents) > 1:
                return documents
    return documents


def made_up(seed: int, blank_lines: float, line_ends: float, words: int) -> str:
    draw = random.Random(seed)

    def after() -> str:
        chance = draw.random()
        if chance < blank_lines:
            return draw.choice(["\n\n", "\n \n", "\n\n\n", "\n\t\n  "])
        return (
            draw.choice(["\n", " \n ", "\n  "])
            if chance < blank_lines + line_ends
            else draw.choice([" ", ". "])
        )

    return "".join(draw.choice(["fox", "ran", "grapes", "ï"]) + after() for _ in range(words))


@pytest.mark.parametrize("words", [1, 30, 400, 3000, 7000])
@pytest.mark.parametrize(
    ("blank_lines", "line_ends"),
    [(0.05, 0.1), (0.0, 0.1), (0.0, 0.0), (0.0005, 0.01), (0.0, 0.0005), (0.3, 0.3)],
)
def test_documents_are_those_of_the_rule_in_memory(blank_lines: float, line_ends: float, words: int) -> None:
    for seed in range(2):
        text = made_up(seed, blank_lines, line_ends, words)
        for ends in ("", "\n\n"):
            lines = (text + ends).splitlines(keepends=True)
            assert list(cut(lambda lines=lines: lines)) == in_memory(text + ends)  # type: ignore[misc]


@pytest.mark.parametrize("length", [1999, 2000, 2001, 9_999, 19_998, 20_000, 20_002, 30_000])
def test_the_bound_between_short_and_long_texts_does_not_show(length: int) -> None:
    for text in ("x" * length + "\n\ny", "x" * length + "\ny", "x" * length + ". y", "x\n\n" + "y" * length):
        lines = text.splitlines(keepends=True)
        assert list(cut(lambda lines=lines: lines)) == in_memory(text)  # type: ignore[misc]


def test_a_form_feed_is_a_blank_line() -> None:
    pages = [f"{'word ' * 500}page {number}" for number in range(4)]
    found = [document for document, _ in cut(lambda: "\f".join(pages).splitlines(keepends=True))]
    assert found == pages
    with_lines = "\n\f".join(pages) + "\f"
    assert [document for document, _ in cut(lambda: with_lines.split("\n"))] == pages


def test_a_single_mark_is_a_blank_line() -> None:
    text = ["One.\n", "Two.\n", "<|endoftext|>\n"]
    assert list(cut(lambda: text)) == [("One.", "\n"), ("Two.", "\n")]


@pytest.mark.parametrize("end", ["\n\n", "\n"])
def test_a_long_text_is_never_held(end: str) -> None:
    def lines() -> Iterator[str]:
        for number in range(10_000):
            yield f"This is line {number} of a text that is read as a stream.\n"
            if end == "\n\n":
                yield "\n"

    tracemalloc.start()
    try:
        documents = sum(1 for _ in cut(lines))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert documents > 200
    assert peak < 200_000
