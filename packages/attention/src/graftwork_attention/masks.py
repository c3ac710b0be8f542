"""Masks of real tokens: ``bool [batch, tokens]``, True where a token is real, and checks of what is given.

Padding is removed by selection (``torch.where``), never by a product: a product with zero keeps NaN.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# What callers of other attentions ask for, and what stands in its place here.
_ALTERNATIVES = {
    "is_causal": "mixers here are bidirectional; take torch.nn.functional.scaled_dot_product_attention(..., "
    "is_causal=True) for an autoregressive model",
    "attn_mask": "a mask over pairs of tokens cannot be kept here; say which tokens are real by mask, bool "
    "[batch, tokens], or take torch.nn.functional.scaled_dot_product_attention",
    "key": "a mixer mixes one sequence with itself; take torch.nn.MultiheadAttention for cross-attention",
    "key_padding_mask": "say by mask which tokens are real, bool [batch, tokens], True where one is: "
    "mask=~key_padding_mask",
    "need_weights": "a mixer returns no attention weights; take torch.nn.MultiheadAttention where they are "
    "looked at",
}
_ALTERNATIVES["causal"] = _ALTERNATIVES["is_causal"]
_ALTERNATIVES["attention_mask"] = _ALTERNATIVES["attn_mask"]
for _name in ("value", "context", "encoder_hidden_states", "memory"):
    _ALTERNATIVES[_name] = _ALTERNATIVES["key"]


def refuse_arguments(mixer: str, arguments: Mapping[str, object]) -> None:
    """Refuse arguments of ``forward`` that no mixer here takes, and name what does.

    Args:
        mixer: its name for the sentence.
        arguments: by name, as they were given.

    Raises:
        ValueError: one has an alternative: causal, cross-attention, a pairwise mask, weights.
        TypeError: one is unknown.

    >>> refuse_arguments("S3Attention", {"need_weights": True})
    Traceback (most recent call last):
    ValueError: S3Attention takes no need_weights: a mixer returns no attention weights; take \
torch.nn.MultiheadAttention where they are looked at
    """
    for name in arguments:
        if name in _ALTERNATIVES:
            raise ValueError(f"{mixer} takes no {name}: {_ALTERNATIVES[name]}")
        raise TypeError(f"{mixer} takes no argument {name!r}; it takes x and mask")


def check_input(x: Tensor, mask: Tensor | None, *, mixer: str, dim: int, max_len: int) -> None:
    """Refuse an input that does not fit, in one sentence.

    Args:
        x: ``[batch, tokens, dim]``, at most ``max_len`` tokens.
        mask: bool ``[batch, tokens]`` or None.
        mixer: its name for the sentence.

    Raises:
        ValueError: another shape, too many tokens, no numbers with a fraction, a mask that is not bool or has
            another shape.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ValueError(f"x of {mixer} must be a tensor of floating point numbers, got {_kind(x)}")
    if x.dim() != 3 or x.shape[2] != dim:
        raise ValueError(f"x of {mixer} must be [batch, tokens, {dim}], got {_shape(x)}")
    if x.shape[1] > max_len:
        raise ValueError(
            f"{mixer} was built for at most max_len={max_len} tokens, got {x.shape[1]}; build it with a "
            f"larger max_len, or call its resize_length({x.shape[1]}) where it has one"
        )
    if mask is None:
        return
    if not isinstance(mask, Tensor):
        raise ValueError(
            f"the mask of {mixer} must be a tensor, bool [batch, tokens], True where a token is real, got "
            f"{_kind(mask)}; write torch.as_tensor(mask)"
        )
    if mask.dtype != torch.bool:
        raise ValueError(
            f"the mask of {mixer} must be bool [batch, tokens], True where a token is real, got "
            f"{mask.dtype}; write mask.bool() where it holds 1 for real tokens, "
            "mask == 0 where it is added to logits"
        )
    if mask.dim() > 2:
        raise ValueError(
            f"the mask of {mixer} must be [batch, tokens], got {_shape(mask)}: " + _ALTERNATIVES["attn_mask"]
        )
    if mask.shape != x.shape[:2]:
        raise ValueError(
            f"the mask of {mixer} must be [batch, tokens], {_shape(x[:, :, 0])} for this x, "
            f"got {_shape(mask)}"
        )


def _kind(given: object) -> str:
    """What was given, for a sentence: the dtype of a tensor, the type of anything else."""
    if isinstance(given, Tensor):
        return str(given.dtype)
    return f"{type(given).__module__}.{type(given).__qualname__}".removeprefix("builtins.")


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(str(size) for size in tensor.shape)}]"


def zeroed(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x [batch, tokens, ...]`` with zeros where the mask is False, whatever stood there, and zero gradient.

    >>> zeroed(torch.tensor([[1.0, float("nan")]]), torch.tensor([[True, False]]))
    tensor([[1., 0.]])
    """
    if mask is None:
        return x
    return torch.where(mask.view(*mask.shape, *(1,) * (x.dim() - 2)), x, 0)


def valid_counts(mask: Tensor) -> Tensor:
    """How many tokens of each sample are real: int64 ``[batch]``."""
    return mask.sum(1)


def valid_ranks(mask: Tensor) -> Tensor:
    """The place of each real token among the real ones of its sample: int64 ``[batch, tokens]``.

    At padding it is the place of the last real token before it, or -1.

    >>> valid_ranks(torch.tensor([[False, True, False, True]]))
    tensor([[-1,  0,  0,  1]])
    """
    return mask.cumsum(1) - 1


def position_of_rank(mask: Tensor, ranks: Tensor) -> Tensor:
    """Where the real token of a given place stands: the inverse of :func:`valid_ranks`.

    Args:
        mask: bool ``[batch, tokens]``.
        ranks: int64 ``[batch, any]``, from 0; beyond the last real token the last position is returned.

    Returns:
        int64 ``[batch, any]``, positions in ``0..tokens-1``.

    >>> position_of_rank(torch.tensor([[False, True, False, True]]), torch.tensor([[0, 1, 2]]))
    tensor([[1, 3, 3]])
    """
    return torch.searchsorted(mask.cumsum(1), (ranks + 1).contiguous()).clamp(max=mask.shape[1] - 1)


def opened(mask: Tensor | None) -> Tensor | None:
    """The mask with every token of a sample that has no real one counted as real.

    A softmax over nothing is NaN; what is computed for such a sample is finite like this, and its output is
    zeroed with its padding.

    >>> opened(torch.tensor([[False, False], [True, False]]))
    tensor([[ True,  True],
            [ True, False]])
    """
    if mask is None:
        return None
    return mask | ~mask.any(1, keepdim=True)
