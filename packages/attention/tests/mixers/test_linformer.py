"""Linformer attention against its formula, where keys and values are projected one by one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graftwork_attention.mixers.linformer import LinformerAttention


def oracle(module: LinformerAttention, x: Tensor, mask: Tensor) -> Tensor:
    """One sample ``[tokens, dim]``: rows of keys and values at padding are zeros, their bias too."""
    width = module.dim // module.heads
    heads = []
    combinations = module.combinations[:, : len(x)]
    keys, values = (combinations @ (project(x) * mask[:, None]) for project in (module.key, module.value))
    for head in range(module.heads):
        part = slice(head * width, (head + 1) * width)
        logits = module.query(x)[:, part] @ keys[:, part].T / math.sqrt(width)
        heads.append(logits.softmax(1) @ values[:, part])
    return torch.where(mask[:, None], module.output(torch.cat(heads, 1)), 0)


@pytest.mark.parametrize("tokens", [1, 7, 10])
@pytest.mark.parametrize("bias", [True, False])
def test_eq_7_it_is_its_formula(tokens: int, bias: bool) -> None:
    module = LinformerAttention(12, 3, 10, projected_tokens=4, qkv_bias=bias).double()
    x = torch.randn(2, tokens, 12, dtype=torch.float64)
    mask = torch.rand(2, tokens) < 0.6
    mask[:, 0] = True
    for given, used in ((mask, mask), (None, torch.ones_like(mask))):
        found = module(x, given)
        for sample in range(2):
            expected = oracle(module, x[sample], used[sample])
            torch.testing.assert_close(found[sample], expected, rtol=0, atol=1e-12)


def test_a_bias_of_keys_and_values_does_not_leak_out_of_padding() -> None:
    # What is left of a zeroed token after a map with bias is the bias: published layers project it along.
    module = LinformerAttention(8, 2, 6, projected_tokens=3).double()
    torch.nn.init.constant_(module.value.bias, 100.0)
    torch.nn.init.constant_(module.combinations, 1.0)
    x = torch.zeros(1, 6, 8, dtype=torch.float64)
    mask = torch.tensor([[True, True, False, False, False, False]])
    expected = module.output(torch.full((8,), 200.0, dtype=torch.float64))
    torch.testing.assert_close(module(x, mask)[0, 0], expected)


def test_the_combinations_are_256_or_as_many_as_tokens() -> None:
    assert LinformerAttention(8, 2, 40).combinations.shape == (40, 40)
    assert LinformerAttention(8, 2, 300).combinations.shape == (256, 300)
    with pytest.raises(ValueError, match=r"projected_tokens must be a whole number in 1\.\.40, got 41"):
        LinformerAttention(8, 2, 40, projected_tokens=41)


def test_combined_tokens_have_the_size_of_tokens_at_first() -> None:
    module = LinformerAttention(8, 2, 400)
    combined = module.combinations @ torch.randn(400, 200)
    assert combined.std().item() == pytest.approx(1, abs=0.02)
