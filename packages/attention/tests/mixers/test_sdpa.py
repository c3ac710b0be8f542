"""Softmax attention against torch.nn.MultiheadAttention with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graftwork_attention.mixers.sdpa import SoftmaxAttention


def test_it_is_torchs_multihead_attention_of_the_same_weights() -> None:
    torch_one = nn.MultiheadAttention(16, 4, batch_first=True).double()
    nn.init.normal_(torch_one.in_proj_bias)
    ours = SoftmaxAttention(16, 4, 9).double()
    maps = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        for linear, weight, bias in zip(
            maps, torch_one.in_proj_weight.chunk(3), torch_one.in_proj_bias.chunk(3), strict=True
        ):
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
    ours.output.load_state_dict(torch_one.out_proj.state_dict())
    x = torch.randn(3, 9, 16, dtype=torch.float64)
    mask = torch.rand(3, 9) < 0.6
    mask[:, 4] = True
    expected, _ = torch_one(x, x, x, key_padding_mask=~mask, need_weights=False)
    torch.testing.assert_close(ours(x, mask)[mask], expected[mask], rtol=0, atol=1e-12)
    expected, _ = torch_one(x, x, x, need_weights=False)
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-12)


def test_dropout_of_weights_is_for_training_alone() -> None:
    dropping = SoftmaxAttention(16, 2, 8, attn_dropout=0.5)
    plain = SoftmaxAttention(16, 2, 8)
    plain.load_state_dict(dropping.state_dict())
    x = torch.randn(2, 8, 16)
    assert not torch.allclose(dropping.train()(x), plain(x), atol=1e-3)
    assert torch.equal(dropping.eval()(x), plain(x))


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_of_dropout_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=rf"attn_dropout must be in \[0, 1\), got {share}"):
        SoftmaxAttention(16, 2, 8, attn_dropout=share)
