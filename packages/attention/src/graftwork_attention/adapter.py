"""A mixer where a ``torch.nn.MultiheadAttention`` stood: its call, for what both of them do.

Not a subclass: torch's fast path reads ``in_proj_weight`` and ``out_proj`` of one, which a mixer does not
have.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graftwork import Kind, get_registry

_KEEP = "keep torch.nn.MultiheadAttention"


class MultiheadAttentionAdapter(nn.Module):
    """Self-attention by any mixer, called as a ``torch.nn.MultiheadAttention(..., batch_first=True)`` is.

    It can be the ``self_attn`` of a ``torch.nn.TransformerEncoderLayer(..., batch_first=True)``.

    Args:
        embed_dim: width of a token.
        num_heads: divides ``embed_dim``.
        max_len: the largest number of tokens, which torch's class does not ask for.
        mixer: the name of a registered attention, a plugin's too, or ``plugin:name``; or a mixer that was
            built with these sizes.
        batch_first: True; torch's default, False, is refused.
        options: of the mixer that is named, ``layer_index`` among them.

    Raises:
        ValueError: ``batch_first`` is False, or the mixer does not fit.
        UnknownNameError: no attention of that name; the message offers close matches.

    >>> attention = MultiheadAttentionAdapter(16, 2, max_len=32, mixer="sdpa")
    >>> x, padding = torch.randn(1, 3, 16), torch.tensor([[False, False, True]])
    >>> y, weights = attention(x, x, x, key_padding_mask=padding)
    >>> y.shape, weights
    (torch.Size([1, 3, 16]), None)
    """

    batch_first = True
    # What torch.nn.TransformerEncoderLayer asks before it takes its fast path: not with a mixer.
    in_proj_bias = None
    _qkv_same_embed_dim = True

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        max_len: int,
        mixer: str | nn.Module = "s3",
        *,
        batch_first: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        if not batch_first:
            raise ValueError(
                "batch_first must be True: inputs are [batch, tokens, dim]; transpose what is "
                "[tokens, batch, dim]"
            )
        self.embed_dim, self.num_heads, self.max_len = embed_dim, num_heads, max_len
        if isinstance(mixer, str):
            registry = get_registry()
            target = registry.resolve(registry.find_in(Kind.ATTENTION, mixer))
            self.mixer: nn.Module = target(embed_dim, num_heads, max_len, **{"layer_index": 0, **options})
            return
        if not isinstance(mixer, nn.Module):
            raise ValueError(
                "mixer must be the name of a registered attention or a mixer that was built, as "
                f"S3Attention(embed_dim, num_heads, max_len), got {mixer!r}"
            )
        if options:
            raise ValueError(
                f"{', '.join(options)}: options go with the name of a mixer, not with one that is built"
            )
        self.mixer = mixer

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Mix one sequence with itself.

        Args:
            query: ``[batch, tokens, embed_dim]``.
            key: the same tensor as ``query``.
            value: the same tensor.
            key_padding_mask: ``[batch, tokens]``: bool, True at *padding* as in torch, the opposite of a
                mixer's mask; or float, as torch's own layers make of it: 0 where a token is real, -inf at
                padding.
            need_weights: False, though True is torch's default: a mixer has no weights to return.
            attn_mask: None.
            average_attn_weights: of no effect, as there are no weights.
            is_causal: False.

        Returns:
            The output ``[batch, tokens, embed_dim]``, zeros at padding, and None in place of the weights.

        Raises:
            ValueError: something is asked for that no mixer does; the sentence says what does it.
        """
        if key is not query or value is not query:
            raise ValueError(
                "key and value must be the query itself, the same tensor: a mixer mixes one sequence with "
                f"itself; {_KEEP} for cross-attention"
            )
        if attn_mask is not None:
            raise ValueError(
                "attn_mask must be None: a mask over pairs of tokens cannot be kept; say by key_padding_mask "
                f"which tokens are padding, or {_KEEP}"
            )
        if is_causal:
            raise ValueError(
                f"is_causal must be False: mixers are bidirectional; {_KEEP} for an autoregressive model"
            )
        if need_weights:
            raise ValueError(
                "need_weights must be False, which is the default here and not torch's: a mixer has no "
                f"attention weights to return; {_KEEP} where they are looked at"
            )
        return self.mixer(query, None if key_padding_mask is None else real_tokens(key_padding_mask)), None

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, max_len={self.max_len}"


def real_tokens(key_padding_mask: Tensor) -> Tensor:
    """A mixer's mask from torch's mask of padding.

    Raises:
        ValueError: it is no tensor, or neither bool nor made of 0 and -inf alone, which is looked at unless
            the call is being compiled or exported.

    >>> real_tokens(torch.tensor([[False, True]])), real_tokens(torch.tensor([[0.0, -torch.inf]]))
    (tensor([[ True, False]]), tensor([[ True, False]]))
    """
    if not isinstance(key_padding_mask, Tensor):
        raise ValueError(
            f"key_padding_mask must be a tensor [batch, tokens], got {type(key_padding_mask).__name__}"
        )
    if key_padding_mask.dtype == torch.bool:
        return ~key_padding_mask
    plain = key_padding_mask.is_floating_point() and (
        torch.compiler.is_compiling()
        or bool(((key_padding_mask == 0) | (key_padding_mask == -torch.inf)).all())
    )
    if not plain:
        raise ValueError(
            "key_padding_mask must be bool, True at padding, or float with 0 where a token is real and -inf "
            f"at padding, got {key_padding_mask.dtype} of other numbers"
        )
    return key_padding_mask == 0
