"""Masks: what they select, and the sentences for what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graftwork_attention.masks import (
    check_input,
    position_of_rank,
    refuse_arguments,
    valid_counts,
    valid_ranks,
    zeroed,
)

NAN = float("nan")


def test_zeroing_selects_values_and_gradients() -> None:
    x = torch.tensor([[[1.0, 2.0], [NAN, 3.0]]], requires_grad=True)
    kept = zeroed(x, torch.tensor([[True, False]]))
    assert kept.tolist() == [[[1, 2], [0, 0]]]
    (kept * kept).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[[2, 4], [0, 0]]]
    assert zeroed(x, None) is x
    assert zeroed(x.bfloat16(), torch.ones(1, 2, dtype=torch.bool)).dtype == torch.bfloat16


def test_ranks_and_positions_are_inverses_on_real_tokens() -> None:
    mask = torch.rand(5, 20) < 0.5
    mask[3], mask[4] = True, False
    ranks = valid_ranks(mask)
    positions = torch.arange(20).expand(5, -1)
    assert torch.equal(position_of_rank(mask, ranks)[mask], positions[mask])
    assert torch.equal(valid_counts(mask), (ranks[:, -1] + 1))
    # Beyond the last real token, or without any, an index that can still be read.
    assert position_of_rank(mask, torch.full((5, 1), 20)).max() < 20


@pytest.mark.parametrize(
    ("shape", "mask", "said"),
    [
        ((2, 5), None, r"x of Mixer must be \[batch, tokens, 4\], got \[2, 5\]"),
        ((2, 5, 3), None, r"x of Mixer must be \[batch, tokens, 4\], got \[2, 5, 3\]"),
        (
            (2, 9, 4),
            None,
            r"at most max_len=8 tokens, got 9; build it with a larger max_len, or call its resize_len",
        ),
        ((2, 5, 4), torch.ones(2, 5), r"must be bool .* got torch.float32; write mask.bool\(\)"),
        ((2, 5, 4), torch.ones(2, 5, dtype=torch.int64), r"must be bool .* got torch.int64"),
        (
            (2, 5, 4),
            torch.ones(2, 6, dtype=torch.bool),
            r"\[batch, tokens\], \[2, 5\] for this x, got \[2, 6\]",
        ),
        ((2, 5, 4), torch.ones(5, dtype=torch.bool), r"\[2, 5\] for this x, got \[5\]"),
        (
            (2, 5, 4),
            torch.ones(2, 1, 5, 5, dtype=torch.bool),
            r"got \[2, 1, 5, 5\]: a mask over pairs of tokens",
        ),
    ],
)
def test_an_input_that_does_not_fit_is_one_sentence(
    shape: tuple[int, ...], mask: torch.Tensor | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        check_input(torch.zeros(shape), mask, mixer="Mixer", dim=4, max_len=8)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("x", "mask", "said"),
    [
        (torch.zeros(2, 5, 4, dtype=torch.int64), None, "x of Mixer must be .* floating .*, got torch.int64"),
        (torch.zeros(2, 5, 4, dtype=torch.bool), None, "floating point numbers, got torch.bool"),
        (torch.zeros(2, 5, 4, dtype=torch.complex64), None, "floating point numbers, got torch.complex64"),
        (torch.zeros(2, 5, 4).numpy(), None, "must be a tensor of .*, got numpy.ndarray"),
        (torch.zeros(2, 5, 4), [[True] * 5] * 2, r"must be a tensor, .* got list; write torch.as_tensor\("),
        (torch.zeros(2, 5, 4), torch.ones(2, 5).bool().numpy(), "must be a tensor, .* got numpy.ndarray"),
    ],
)
def test_what_is_no_tensor_of_the_kind_is_one_sentence(x: Any, mask: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_input(x, mask, mixer="Mixer", dim=4, max_len=8)


def test_an_input_that_fits_is_taken() -> None:
    for mask in (None, torch.ones(2, 8, dtype=torch.bool)):
        check_input(torch.zeros(2, 8, 4), mask, mixer="Mixer", dim=4, max_len=8)


@pytest.mark.parametrize(
    ("argument", "instead"),
    [
        ("is_causal", "scaled_dot_product_attention(..., is_causal=True)"),
        ("causal", "scaled_dot_product_attention(..., is_causal=True)"),
        ("attn_mask", "torch.nn.functional.scaled_dot_product_attention"),
        ("attention_mask", "say which tokens are real by mask"),
        ("key_padding_mask", "mask=~key_padding_mask"),
        ("key", "torch.nn.MultiheadAttention for cross-attention"),
        ("value", "torch.nn.MultiheadAttention for cross-attention"),
        ("encoder_hidden_states", "torch.nn.MultiheadAttention for cross-attention"),
        ("need_weights", "torch.nn.MultiheadAttention where they are looked at"),
    ],
)
def test_arguments_of_other_attentions_are_refused_with_what_takes_them(argument: str, instead: str) -> None:
    with pytest.raises(ValueError, match=f"^Mixer takes no {argument}: ") as refused:
        refuse_arguments("Mixer", {argument: None})
    assert instead in str(refused.value)


def test_an_unknown_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="Mixer takes no argument 'colour'; it takes x and mask"):
        refuse_arguments("Mixer", {"colour": 1})
