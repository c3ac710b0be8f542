"""Texts in pieces have the tokens that they have as a whole, by tokenizers of any kind."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from graftwork_text.tasks.language_model import tokenization
from graftwork_text.tasks.language_model.long_texts import (
    LONGEST_PIECE_CHARACTERS,
    Piece,
    grouped,
    pieces_of,
)
from graftwork_text.tasks.language_model.tokenization import END_OF_TEXT, TextTokenizer, train_tokenizer

WORDS = [
    "it's",
    "we'll",
    "The",
    "gradient",
    "naïve",
    "日本語",
    "😀",
    "12",
    "x_1",
    "(see)",
    "—",
    "«ça»",
    "e\u0301tude",
]


def text(seed: int, between: str) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(WORDS) + draw.choice(between.split("|")) for _ in range(800))


TEXTS = {
    "prose": text(0, " | | | |. |, |\n\n"),
    "lines": text(1, "\n|. \n"),
    "wide": text(2, "  |\t|   |\r\n"),
    "chinese": text(3, "。|、|文|字"),
    "code": text(4, "_|(|) |;\n    |"),
}


def _trained(backend: Tokenizer, trainer: Any) -> TextTokenizer:
    backend.train_from_iterator(TEXTS.values(), trainer)
    return TextTokenizer(backend, backend.get_vocab()[END_OF_TEXT])


def _of_words() -> TextTokenizer:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _trained(backend, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", END_OF_TEXT]))


def _with_a_mark_at_the_beginning() -> TextTokenizer:
    """As LLaMA's of the first years: a text begins as if there were a space, and words are not set apart."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Metaspace()
    return _trained(backend, trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", END_OF_TEXT]))


def _of_a_later_pattern() -> TextTokenizer:
    """Byte-level BPE by the pattern of GPT-4, over composed characters."""
    pattern = (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        r"\s*[\r\n]|\s+(?!\S)|\s+"
    )
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(
        backend,
        trainers.BpeTrainer(vocab_size=400, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet),
    )


TOKENIZERS: dict[str, Callable[[], TextTokenizer]] = {
    "own": lambda: train_tokenizer(TEXTS.values(), 400),
    "words": _of_words,
    "mark-at-the-beginning": _with_a_mark_at_the_beginning,
    "later-pattern": _of_a_later_pattern,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> TextTokenizer:
    return TOKENIZERS[request.param]()


@pytest.mark.parametrize("longest", [300, 1000])
@pytest.mark.parametrize("kind", TEXTS)
def test_pieces_have_the_tokens_and_bytes_of_the_whole(
    tokenizer: TextTokenizer, kind: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = TEXTS[kind]
    ((expected, expected_bytes, _),) = tokenizer.encode_pieces_with_bytes([whole])
    assert len(list(pieces_of([whole], longest))) > 2
    monkeypatch.setattr(tokenization, "pieces_of", partial(pieces_of, longest=longest))
    found = list(tokenizer.encode_pieces_with_bytes([whole, "and more"]))
    assert [ends for _, _, ends in found] == [False] * (len(found) - 2) + [True, True]
    np.testing.assert_array_equal(np.concatenate([ids for ids, _, _ in found[:-1]]), expected)
    np.testing.assert_array_equal(np.concatenate([added for _, added, _ in found[:-1]]), expected_bytes)
    np.testing.assert_array_equal(next(tokenizer.encode([whole])), expected)


def test_a_tokenizer_trained_on_pieces_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train_tokenizer(TEXTS.values(), 500).digest
    monkeypatch.setattr(tokenization, "pieces_of", partial(pieces_of, longest=300))
    assert train_tokenizer(TEXTS.values(), 500).digest == expected


@pytest.mark.parametrize("kind", TEXTS)
def test_pieces_are_the_text_and_no_longer_than_they_may_be(kind: str) -> None:
    pieces = list(pieces_of([TEXTS[kind], "", "short"], 100))
    assert "".join(piece.text for piece in pieces) == TEXTS[kind] + "short"
    assert max(len(piece.text) for piece in pieces) <= 100
    assert sum(piece.ends_text for piece in pieces) == 3


@pytest.mark.parametrize("character", ["x", " ", "😀", "."])
def test_text_without_a_word_is_cut_as_it_comes(character: str) -> None:
    pieces = list(pieces_of([character * 1050], 100))
    assert [len(piece.text) for piece in pieces] == [100] * 10 + [50]
    assert all(piece.is_alone for piece in pieces)
    tokenizer = TOKENIZERS["own"]()
    (ids,) = tokenizer.encode([character * (LONGEST_PIECE_CHARACTERS + 7)])
    assert tokenizer.decode(ids.tolist()) == character * (LONGEST_PIECE_CHARACTERS + 7)


def test_groups_are_bounded_in_number_and_in_characters() -> None:
    half, short = LONGEST_PIECE_CHARACTERS // 2 + 1, 10
    pieces = [Piece("x" * size, 0, size, True) for size in [half, half, short, short, short, 2 * half]]
    groups = [[len(piece.window) for piece in group] for group in grouped(pieces, most=2)]
    assert groups == [[half], [half, short], [short, short], [2 * half]]
