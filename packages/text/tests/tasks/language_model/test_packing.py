"""Sequences cut out of a row of tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graftwork_text.tasks.language_model.packing import PackedSequences

LENGTH = 4


def sequences(count: int = 10, extra: int = 1) -> PackedSequences:
    return PackedSequences(np.arange(count * LENGTH + extra, dtype=np.uint16), LENGTH)


@pytest.mark.parametrize(("extra", "expected"), [(1, 10), (4, 10), (0, 9)])
def test_whole_sequences(extra: int, expected: int) -> None:
    assert len(sequences(extra=extra)) == expected


def test_every_token_but_the_first_is_predicted_once() -> None:
    batch = sequences().batch(np.arange(10))
    assert batch["targets"].flatten().tolist() == list(range(1, 41))
    torch.testing.assert_close(batch["input_ids"] + 1, batch["targets"])
    assert batch["input_ids"].dtype == torch.int64
    assert batch["input_ids"].shape == (10, LENGTH)


def test_batches_are_copies_of_the_tokens() -> None:
    tokens = np.arange(9, dtype=np.uint16)
    PackedSequences(tokens, LENGTH).batch(np.array([0]))["input_ids"].zero_()
    assert tokens.tolist() == list(range(9))


def test_too_few_tokens() -> None:
    with pytest.raises(ValueError, match="a sequence needs 5 tokens, got 4"):
        PackedSequences(np.zeros(4, np.uint16), LENGTH)


def test_bytes_are_those_of_the_predicted_tokens() -> None:
    token_bytes = np.arange(41, dtype=np.uint32)
    packed = PackedSequences(np.arange(41, dtype=np.uint16), LENGTH, token_bytes)
    assert packed.batch(np.array([0, 9]))["text_bytes"].tolist() == [1 + 2 + 3 + 4, 37 + 38 + 39 + 40]
    assert "text_bytes" not in sequences().batch(np.array([0]))
