"""Nyström attention (arXiv:2102.03902): softmax attention seen through a few landmarks.

    y = softmax(q k̃ᵀ) · pinv(softmax(q̃ k̃ᵀ)) · softmax(q̃ kᵀ) v + convolution(v)    (logits over √width)

The landmarks q̃ and k̃ are means over ``landmarks`` segments of the *real* tokens of a sample, in their order
and as even as can be. A sample of fewer real tokens has each of them as a landmark: its attention is softmax
attention, as far as the pseudo-inverse has converged.

A mean is taken before the linear map, which is the same and reads the tokens once. The pseudo-inverse is the
paper's, six steps of a cubic iteration, started for each matrix by its own norms: published code takes the
largest norms of all heads and samples, and so lets the samples of a batch change each other.

Cost: 4·dim² + (4·landmarks + conv_kernel)·dim multiply-adds per token, and landmarks³ per head and step for
the inverse.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork_attention.capabilities import Capabilities
from graftwork_attention.heads import merge_heads, split_heads
from graftwork_attention.masks import opened, valid_counts, valid_ranks, zeroed
from graftwork_attention.mixer import Mixer
from graftwork_attention.mixers.ranges import check_odd, check_whole
from graftwork_attention.precision import at_least_float32, without_autocast


class NystromAttention(Mixer):
    """Softmax attention by landmarks, with a convolution of the values.

    Padding within a sequence stands for zeros in the convolution, which sees positions; all else sees the
    real tokens alone.

    Args:
        dim: width of a token.
        heads: divides ``dim``.
        max_len: the largest number of tokens.
        layer_index: which layer of a model it is; makes no difference here.
        landmarks: how many segments of a sequence have a landmark, 1 or more.
        conv_kernel: tokens that the convolution of the values sees, odd, one kernel per head; 0 leaves it
            out.
        pinv_iterations: steps of the iteration for the pseudo-inverse, 1 or more.
        qkv_bias: whether the maps to queries, keys and values have a bias.

    Raises:
        ValueError: an option is out of its range.
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
        landmarks: int = 64,
        conv_kernel: int = 33,
        pinv_iterations: int = 6,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__(dim, heads, max_len, layer_index=layer_index)
        check_whole("landmarks", landmarks, 1)
        check_odd("conv_kernel", conv_kernel)
        check_whole("pinv_iterations", pinv_iterations, 1)
        self.landmarks, self.pinv_iterations = landmarks, pinv_iterations
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.key = nn.Linear(dim, dim, bias=qkv_bias)
        self.value = nn.Linear(dim, dim, bias=qkv_bias)
        self.output = nn.Linear(dim, dim)
        self.value_convolution = (
            nn.Conv2d(heads, heads, (conv_kernel, 1), padding=(conv_kernel // 2, 0), groups=heads, bias=False)
            if conv_kernel
            else None
        )

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        mask = opened(mask)
        means, is_landmark = segment_means(x, mask, self.landmarks)
        query, key = split_heads(self.query(x), self.heads), split_heads(self.key(x), self.heads)
        value = split_heads(zeroed(self.value(x), mask), self.heads)
        query_marks, key_marks = (
            split_heads(self.query(means), self.heads),
            split_heads(self.key(means), self.heads),
        )
        gathered = F.scaled_dot_product_attention(
            query_marks, key, value, attn_mask=None if mask is None else mask[:, None, None]
        )
        with without_autocast(x):
            among_marks = _weights(at_least_float32(query_marks), at_least_float32(key_marks), is_landmark)
            if is_landmark is not None:
                among_marks = among_marks.masked_fill(~is_landmark[:, None, :, None], 0)
            inverse = pseudo_inverse(among_marks, self.pinv_iterations)
            gathered = (inverse @ at_least_float32(gathered)).to(value.dtype)
        y = _weights(query, key_marks, is_landmark) @ gathered
        if self.value_convolution is not None:
            # Heads innermost, where they are the channels: two to three times as quick on a CPU.
            y = y + self.value_convolution(value.contiguous(memory_format=torch.channels_last))
        mixed: Tensor = self.output(merge_heads(y))
        return mixed


def segment_means(x: Tensor, mask: Tensor | None, segments: int) -> tuple[Tensor, Tensor | None]:
    """Means over even segments of the real tokens of each sample, in order.

    The real token of rank r among c belongs to segment ⌊r·segments/c⌋: all segments hold ⌊c/segments⌋ or
    one more, and with fewer tokens than segments each token has one of its own.

    Args:
        x: ``[batch, tokens, dim]``, zeros where the mask is False.
        mask: bool ``[batch, tokens]`` with a real token in every sample, or None.
        segments: how many.

    Returns:
        Means ``[batch, segments, dim]``, and bool ``[batch, segments]``, False at segments without a
        token, whose means are zeros; None where all have one.

    >>> segment_means(torch.arange(5.0).view(1, 5, 1), None, 2)[0].flatten()
    tensor([1.0000, 3.5000])
    """
    tokens = x.shape[1]
    if mask is None and tokens % segments == 0:
        return torch.unflatten(x, 1, (segments, tokens // segments)).mean(2), None
    if mask is None:
        segment = (torch.arange(tokens, device=x.device) * segments // tokens)[None]
    else:
        segment = valid_ranks(mask) * segments // valid_counts(mask)[:, None]
        segment = segment.masked_fill(~mask, -1)
    belongs = segment[:, None] == torch.arange(segments, device=x.device)[:, None]
    sizes = belongs.sum(2)
    sums = belongs.to(x.dtype).expand(x.shape[0], -1, -1) @ x
    means = sums / sizes.clamp(min=1)[..., None].to(x.dtype)
    if mask is None and tokens >= segments:
        return means, None
    return means, (sizes > 0).expand(x.shape[0], -1)


def pseudo_inverse(matrices: Tensor, iterations: int) -> Tensor:
    """The Moore-Penrose inverse of square matrices by the iteration of the paper's section on it.

        z ← ¼ z (13 - a z (15 - a z (7 - a z))),    at first z = aᵀ / (‖a‖₁ ‖a‖∞) by each matrix's own norms

    Rows and columns of zeros stay so.

    Args:
        matrices: ``[..., size, size]``.
        iterations: steps.
    """
    size = matrices.abs()
    inverse = matrices.mT / (size.sum(-2).amax(-1) * size.sum(-1).amax(-1))[..., None, None]
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    for _ in range(iterations):
        product = matrices @ inverse
        inner = 15 * identity - product @ (7 * identity - product)
        inverse = inverse @ (13 * identity - product @ inner) / 4
    return inverse


def _weights(query: Tensor, key: Tensor, attendable: Tensor | None) -> Tensor:
    """Attention weights ``[batch, heads, queries, keys]`` over the keys that may be attended to."""
    logits = query / math.sqrt(query.shape[-1]) @ key.mT
    if attendable is not None:
        logits = logits.masked_fill(~attendable[:, None, None], -math.inf)
    return logits.softmax(-1)
