"""Softmax attention by torch's own kernels (arXiv:1706.03762), what every other mixer is held beside.

    y = softmax(q kᵀ / √width) v    per head, over the real tokens

Cost: 4·dim² + 2·tokens·dim multiply-adds per token; memory is linear in the tokens where torch has a flash
kernel.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from graftwork_attention.capabilities import Capabilities
from graftwork_attention.heads import merge_heads, split_heads
from graftwork_attention.masks import opened
from graftwork_attention.mixer import Mixer
from graftwork_attention.mixers.ranges import check_probability


class SoftmaxAttention(Mixer):
    """Every token attends to every real token.

    Args:
        dim: width of a token.
        heads: divides ``dim``.
        max_len: the largest number of tokens.
        layer_index: which layer of a model it is; makes no difference here.
        qkv_bias: whether the maps to queries, keys and values have a bias.
        attn_dropout: share of the attention weights that training drops, in [0, 1).

    Raises:
        ValueError: an option is out of its range.

    >>> import torch
    >>> SoftmaxAttention(16, heads=2, max_len=32)(torch.ones(1, 5, 16)).shape
    torch.Size([1, 5, 16])
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        masks=True, any_length=True, reuses_qkv=True, needs_positions=True
    )

    def __init__(
        self,
        dim: int,
        heads: int,
        max_len: int,
        *,
        layer_index: int = 0,
        qkv_bias: bool = True,
        attn_dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, max_len, layer_index=layer_index)
        check_probability("attn_dropout", attn_dropout)
        self.attn_dropout = attn_dropout
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.key = nn.Linear(dim, dim, bias=qkv_bias)
        self.value = nn.Linear(dim, dim, bias=qkv_bias)
        self.output = nn.Linear(dim, dim)

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            split_heads(project(x), self.heads) for project in (self.query, self.key, self.value)
        )
        attendable = opened(mask)
        y = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if attendable is None else attendable[:, None, None],
            dropout_p=self.attn_dropout if self.training else 0.0,
        )
        mixed: Tensor = self.output(merge_heads(y))
        return mixed
