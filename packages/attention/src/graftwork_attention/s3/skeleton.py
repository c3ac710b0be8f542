"""Skeleton attention: every token looks at a few tokens, every channel is made of a few channels.

Source: arXiv:2408.08567, listing. Per head of width e, with landmarks T (s1 tokens) and K (s2 channels):

    token branch    Y1 = softmax(Q K[T]^T / sqrt(e)) V[T]
    channel branch  G = Q^T K[:, K] / sqrt(tokens),  Y2 = V[:, K] softmax(G)^T,  softmax over K
    Y = 1/2 LayerNorm1(Y1) + 1/2 LayerNorm2(Y2), over the channels of all heads

Only K[T], V[T] and the chosen channels of K and V are read, so only they are projected: tokens T by the whole
maps, and all tokens by the chosen rows of the maps. That is exact, gradients included.

The paper's own text calls the two branches column and row attention, its listing and study the other way
round; here they are the token branch and the channel branch.
"""

from __future__ import annotations

import math
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork_attention.capabilities import Capabilities
from graftwork_attention.heads import split_heads
from graftwork_attention.kernels.channel_gram import channel_gram
from graftwork_attention.kernels.skeleton import skeleton_attention
from graftwork_attention.kernels.skeleton_reference import channel_branch, layer_norm, token_branch
from graftwork_attention.masks import position_of_rank, valid_counts
from graftwork_attention.mixer import Mixer
from graftwork_attention.plain_maps import is_plain
from graftwork_attention.s3.presets import ChannelScale, Landmarks, check_choice, check_probability
from graftwork_attention.s3.selection import draw, rescaled


class SkeletonAttention(Mixer):
    """Attention to a few tokens plus attention among channels, with projections of its own.

    Args:
        dim: width of a token.
        heads: divides ``dim``.
        max_len: the largest number of tokens.
        layer_index: which layer of a model it is, so that layers draw different landmarks.
        tokens: how many tokens every query looks at, at most ``max_len``.
        channels: how many channels of a head the others are made of, at most the head's width.
        landmarks: ``relative`` places the tokens at fixed fractions of the real ones, ``fixed`` at fixed
            positions, of which a short sample may have none.
        channel_scale: ``valid`` divides products of channels by the root of the number of real tokens,
            ``max`` by that of ``max_len``.
        attn_dropout: probability of dropout of attention weights.
        qkv_bias: whether query, key and value maps have a bias.
        out_proj: whether a linear map follows.
        use_token_branch: False leaves that branch out.
        use_channel_branch: False leaves that branch out.
        selection_seed: of the draw of tokens and channels.
        norm_eps: added to variances of both LayerNorms.

    Attributes:
        token_index: int64 ``[tokens]``, saved with the weights.
        channel_index: int64 ``[channels]``, likewise.

    Raises:
        ValueError: a size or a word does not fit.
    """

    capabilities = Capabilities(masks=True, any_length=True, needs_positions=True)
    token_index: Tensor
    channel_index: Tensor

    def __init__(
        self,
        dim: int,
        heads: int,
        max_len: int,
        *,
        layer_index: int = 0,
        tokens: int = 8,
        channels: int = 8,
        landmarks: Landmarks = "relative",
        channel_scale: ChannelScale = "valid",
        attn_dropout: float = 0.0,
        qkv_bias: bool = True,
        out_proj: bool = True,
        use_token_branch: bool = True,
        use_channel_branch: bool = True,
        selection_seed: int = 0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(dim, heads, max_len, layer_index=layer_index)
        width = dim // heads
        whole: dict[str, object] = {"tokens": tokens, "channels": channels, "selection_seed": selection_seed}
        for name, value in whole.items():
            if not isinstance(value, Integral):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
        if not 1 <= tokens <= max_len:
            raise ValueError(f"tokens must be in 1..{max_len} (max_len), got {tokens}")
        if not 1 <= channels <= width:
            raise ValueError(f"channels must be in 1..{width} (dim / heads), got {channels}")
        if not (use_token_branch or use_channel_branch):
            raise ValueError("use_token_branch or use_channel_branch must be true, got neither")
        check_choice("landmarks", landmarks, ("relative", "fixed"))
        check_choice("channel_scale", channel_scale, ("valid", "max"))
        check_probability("attn_dropout", attn_dropout)
        self.tokens, self.channels = tokens, channels
        self.landmarks: Landmarks = landmarks
        self.channel_scale: ChannelScale = channel_scale
        self.attn_dropout = attn_dropout
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.key = nn.Linear(dim, dim, bias=qkv_bias)
        self.value = nn.Linear(dim, dim, bias=qkv_bias)
        self.token_norm = nn.LayerNorm(dim, eps=norm_eps) if use_token_branch else None
        self.channel_norm = nn.LayerNorm(dim, eps=norm_eps) if use_channel_branch else None
        self.output = nn.Linear(dim, dim) if out_proj else nn.Identity()
        self.register_buffer("token_index", torch.empty(0, dtype=torch.int64))
        self.register_buffer("channel_index", torch.empty(0, dtype=torch.int64))
        self.resample(selection_seed)

    def resample(self, seed: int) -> None:
        """Draw tokens and channels anew, as a module built with this ``selection_seed`` has them."""
        device = self.token_index.device
        width = self.dim // self.heads
        self.selection_seed = seed
        self.token_index = draw(seed, self.layer_index, "tokens", self.tokens, self.max_len).to(device)
        self.channel_index = draw(seed, self.layer_index, "channels", self.channels, width).to(device)

    def resize_length(self, max_len: int) -> None:
        """Take the chosen tokens to another length, at the same fractions of it.

        Raises:
            ValueError: it has fewer positions than chosen tokens.
        """
        self.token_index = rescaled(self.token_index, self.max_len, max_len)
        self.max_len = max_len

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q = torch.unflatten(self.query(x), -1, (self.heads, -1))
        if self.token_norm is None:
            assert self.channel_norm is not None
            y = self._half(channel_branch(*self._of_channels(x, q, mask)), self.channel_norm)
        elif self.channel_norm is None:
            y = self._half(token_branch(q, *self._of_tokens(x, mask), *self._scores), self.token_norm)
        else:
            keys, values, valid = self._of_tokens(x, mask)
            scale, dropout = self._scores
            y = skeleton_attention(
                *(q, keys, values, *self._of_channels(x, q, mask), valid),
                *(
                    self.token_norm.weight,
                    self.token_norm.bias,
                    self.channel_norm.weight,
                    self.channel_norm.bias,
                ),
                *(self.token_norm.eps, scale, dropout),
            )
        mixed: Tensor = self.output(y.to(q.dtype))
        return mixed

    @property
    def _scores(self) -> tuple[float, float]:
        """What scores of the token branch are multiplied by, and the dropout of their softmax."""
        return (self.dim // self.heads) ** -0.5, self.attn_dropout if self.training else 0.0

    def _half(self, y: Tensor, norm: nn.LayerNorm) -> Tensor:
        """One branch alone, as it stands in the sum."""
        return 0.5 * layer_norm(y, norm.weight, norm.bias, norm.eps)

    def _of_tokens(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values of the chosen tokens, ``[batch, heads, tokens, width]``, and which are real."""
        position, valid = self._chosen_positions(x, mask)
        if position.dim() == 1:
            chosen = x.index_select(1, position)
        else:
            chosen = x.gather(1, position[:, :, None].expand(-1, -1, self.dim))
        return (
            split_heads(self.key(chosen), self.heads).contiguous(),
            split_heads(self.value(chosen), self.heads).contiguous(),
            valid,
        )

    def _chosen_positions(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Where they stand, ``[tokens]`` or ``[batch, tokens]``; and which are real, None if all."""
        batch, tokens, _ = x.shape
        if self.landmarks == "relative":
            if mask is None:
                return self.token_index * tokens // self.max_len, None
            counts = valid_counts(mask)[:, None]
            ranks = self.token_index * counts // self.max_len
            # Of a sample without a real token they stand at padding, and so does all that they give.
            return position_of_rank(mask, ranks), None
        position = self.token_index.clamp(max=tokens - 1)
        if mask is not None:
            return position, mask.index_select(1, position) & (self.token_index < tokens)
        if tokens == self.max_len:
            return position, None
        return position, (self.token_index < tokens).expand(batch, -1)

    def _of_channels(self, x: Tensor, q: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Chosen channels of the values ``[batch, tokens, heads, channels]``, and their weights for every
        channel ``[batch, heads, width, channels]``.
        """
        if is_plain(self.key) and is_plain(self.value):
            weights = [self._chosen_rows(linear.weight) for linear in (self.key, self.value)]
            biases = [self._chosen_rows(b) for b in (self.key.bias, self.value.bias) if b is not None]
            projected = functional.linear(x, torch.cat(weights), torch.cat(biases) if biases else None)
            keys, values = torch.unflatten(projected, -1, (2, self.heads, self.channels)).unbind(2)
        else:
            whole = (torch.unflatten(linear(x), -1, (self.heads, -1)) for linear in (self.key, self.value))
            keys, values = (part.index_select(-1, self.channel_index) for part in whole)
        gram = channel_gram(q, keys, mask, self._channel_scale(x, mask))
        attention = functional.dropout(gram.softmax(-1), self.attn_dropout, self.training)
        return values, attention.to(q.dtype)

    def _chosen_rows(self, rows: Tensor) -> Tensor:
        """Of a weight ``[heads * width, ...]`` the chosen channels of every head."""
        return torch.unflatten(rows, 0, (self.heads, -1)).index_select(1, self.channel_index).flatten(0, 1)

    def _channel_scale(self, x: Tensor, mask: Tensor | None) -> float | Tensor:
        if self.channel_scale == "max":
            return 1 / math.sqrt(self.max_len)
        if mask is None:
            return 1 / math.sqrt(x.shape[1])
        return valid_counts(mask).clamp(min=1).to(torch.promote_types(x.dtype, torch.float32)).rsqrt()
