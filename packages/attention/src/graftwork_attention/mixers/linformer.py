"""Linformer attention (arXiv:2006.04768): attention to learned combinations of the tokens.

    y = softmax(q (E k)ᵀ / √width) (E v)    (eq. 7; one E [projected_tokens, max_len] for all of a layer)

A padded token has zero rows in k and v, its bias too. E acts on tokens and the maps to keys and values on
channels, so E is applied first and the maps to its few results: the same, at 2·dim² multiply-adds per token
less.

Cost: 2·dim² + 3·projected_tokens·dim multiply-adds per token.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork_attention.capabilities import Capabilities
from graftwork_attention.heads import merge_heads, split_heads
from graftwork_attention.masks import zeroed
from graftwork_attention.mixer import Mixer
from graftwork_attention.mixers.ranges import check_probability, check_whole
from graftwork_attention.plain_maps import is_plain


class LinformerAttention(Mixer):
    """Attention to learned combinations of the tokens.

    A token counts by its position, so padding in front of a sequence makes it another sequence.

    Args:
        dim: width of a token.
        heads: divides ``dim``.
        max_len: the largest number of tokens, which the combinations are learned for; a shorter sequence uses
            their first columns.
        layer_index: which layer of a model it is; makes no difference here.
        projected_tokens: how many combinations, in 1..max_len; None is 256, or ``max_len`` where it is
            less.
        qkv_bias: whether the maps to queries, keys and values have a bias.
        attn_dropout: share of the attention weights that training drops, in [0, 1).

    Raises:
        ValueError: an option is out of its range.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(masks=True, any_length=True, needs_positions=True)

    def __init__(
        self,
        dim: int,
        heads: int,
        max_len: int,
        *,
        layer_index: int = 0,
        projected_tokens: int | None = None,
        qkv_bias: bool = True,
        attn_dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, max_len, layer_index=layer_index)
        count = min(256, max_len) if projected_tokens is None else projected_tokens
        check_whole("projected_tokens", count, 1, max_len)
        check_probability("attn_dropout", attn_dropout)
        self.attn_dropout = attn_dropout
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.key = nn.Linear(dim, dim, bias=qkv_bias)
        self.value = nn.Linear(dim, dim, bias=qkv_bias)
        self.output = nn.Linear(dim, dim)
        # A combination of max_len independent tokens has the size of one token like this. The paper's theory
        # asks for the variance 1/projected_tokens, with which logits would be larger by the root of
        # max_len/projected_tokens.
        self.combinations = nn.Parameter(torch.randn(count, max_len) * max_len**-0.5)

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        combinations = self.combinations[:, : x.shape[1]]
        combined = combinations @ x
        # How often a combination meets a bias: once for each real token, at its weight.
        real = x.new_ones(1, x.shape[1]) if mask is None else mask.to(x.dtype)
        bias_weight = (real @ combinations.mT)[..., None]
        key, value = (
            split_heads(
                _project(linear, combined, bias_weight)
                if is_plain(linear)
                else combinations @ zeroed(linear(x), mask),
                self.heads,
            )
            for linear in (self.key, self.value)
        )
        y = F.scaled_dot_product_attention(
            split_heads(self.query(x), self.heads),
            key,
            value,
            dropout_p=self.attn_dropout if self.training else 0.0,
        )
        mixed: Tensor = self.output(merge_heads(y))
        return mixed


def _project(linear: nn.Linear, combined: Tensor, bias_weight: Tensor) -> Tensor:
    """Combinations of what a linear map makes of tokens, from the same combinations of the tokens."""
    projected = F.linear(combined, linear.weight)
    return projected if linear.bias is None else projected + bias_weight * linear.bias
