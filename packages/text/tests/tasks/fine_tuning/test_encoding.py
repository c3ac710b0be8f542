"""Token numbers: literal text, special tokens, truncation, padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from graftwork_text.tasks.fine_tuning.encoding import Encoded, TextEncoder, padded


def test_special_tokens_are_those_that_the_tokenizer_puts_around_a_text(
    masked_folder: Path, causal_folder: Path
) -> None:
    for folder in (masked_folder, causal_folder):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        expected = tokenizer("a great film").input_ids
        encoder = TextEncoder(tokenizer, 48)
        assert encoder.whole(encoder.encode(["a great film"])[0]) == expected
        assert len(expected) > len(encoder.encode(["a great film"])[0])


def test_a_special_token_spelled_out_in_a_text_is_text(masked_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(masked_folder)
    encoder = TextEncoder(tokenizer, 48)
    # transformers resets the switch when it is used itself.
    tokenizer("a great film")
    tokens = encoder.encode(["a [MASK] film [SEP]"])[0]
    assert not {tokenizer.mask_token_id, tokenizer.sep_token_id} & set(tokens)


def test_a_long_text_loses_its_end_and_keeps_its_special_tokens(masked_folder: Path) -> None:
    encoder = TextEncoder(AutoTokenizer.from_pretrained(masked_folder), 8)
    tokens = encoder.encode(["great " * 30])[0]
    whole = encoder.whole(tokens)
    assert len(whole) == 8
    assert whole == [*encoder.prefix, *tokens[:6], *encoder.suffix]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_goes_to_one_side_and_is_masked(side: str) -> None:
    batch = padded([[5, 6, 7], [8]], padding=9, side=side, max_length=64)  # type: ignore[arg-type]
    assert batch["input_ids"].shape == (2, 8)
    kept = [
        row[mask.bool()].tolist()
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert kept == [[5, 6, 7], [8]]
    assert batch["attention_mask"][1].tolist() == ([0] * 7 + [1] if side == "left" else [1] + [0] * 7)
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 9).all()


@pytest.mark.parametrize(
    ("longest", "max_length", "width"), [(8, 64, 8), (9, 64, 16), (9, 10, 10), (3, 3, 3)]
)
def test_widths_are_multiples_of_eight_within_the_longest_allowed(
    longest: int, max_length: int, width: int
) -> None:
    batch = padded([[1] * longest, [1]], padding=0, side="left", max_length=max_length)
    assert batch["input_ids"].shape == (2, width)
    assert batch["input_ids"].dtype == torch.int64


def test_an_empty_text_is_one_token_of_padding_that_counts() -> None:
    for sequences in ([[]], [[5, 6], []]):
        batch = padded(sequences, padding=9, side="right", max_length=64)
        assert batch["input_ids"][-1].tolist() == [9] * 8
        assert batch["attention_mask"][-1].tolist() == [1] + [0] * 7


def test_the_shortest_come_first_and_batches_say_which_they_are() -> None:
    encoded = Encoded([3, 1, 2, 1], lambda rows: {"places": torch.from_numpy(rows) * 10})
    ordered = encoded.shortest_first()
    assert list(ordered.lengths) == [1, 1, 2, 3]
    batch = ordered.batch(np.array([0, 3]))
    assert batch["places"].tolist() == [10, 0]
    assert batch["sample"].tolist() == [1, 0]
    assert "sample" not in encoded.batch(np.array([0]))


@pytest.mark.parametrize("folder", ["masked_folder", "causal_folder"])
def test_long_texts_are_encoded_piece_by_piece_with_the_same_tokens(
    request: pytest.FixtureRequest, folder: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(folder))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    encoder = TextEncoder(tokenizer, 48)
    long = "".join(f"{number}. A great film, moving (and dull). " for number in range(3_600))
    texts = ["a great film", long, "", f"It was {long}"]
    tokenizer.backend_tokenizer.encode_special_tokens = True
    expected = [tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert encoder.encode(texts) == expected
    assert [encoder.beginning(text) == text for text in texts] == [True, False, True, False]
    beginning = encoder.encode([encoder.beginning(long)])[0]
    assert len(beginning) > encoder.max_length
    assert beginning == expected[1][: len(beginning)]
