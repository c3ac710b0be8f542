"""A mixer's mask from the masks that libraries hand to an attention."""

from __future__ import annotations

import torch
from torch import Tensor

# Masks that are added to logits say padding by -inf, by the dtype's lowest number or by -10000.
_PADDING_IS_BELOW = -9999.0


def key_padding(mask: Tensor | None) -> Tensor | None:
    """Which tokens are real.

    Args:
        mask: None; ``[batch, tokens]``, or ``[batch, 1, 1, tokens]`` for every head and query: bool or whole,
            true where a token is real; or float, which is added to logits.

    Returns:
        bool ``[batch, tokens]`` or None.

    Raises:
        ValueError: it tells queries apart, or adds to logits what is no padding, which is not looked at while
            a call is compiled or exported.

    >>> key_padding(torch.tensor([[[[0.0, -torch.inf]]]]))
    tensor([[ True, False]])
    """
    if mask is None:
        return None
    if mask.dim() == 4 and mask.shape[1] == mask.shape[2] == 1:
        mask = mask[:, 0, 0]
    if mask.dim() != 2:
        raise ValueError(
            "attention_mask must say which tokens are real, [batch, tokens], got "
            f"[{', '.join(str(size) for size in mask.shape)}]: a mixer cannot keep a mask over pairs of "
            "tokens"
        )
    if not mask.is_floating_point():
        return mask.bool()
    real = mask == 0
    if not torch.compiler.is_compiling() and not bool((real | (mask < _PADDING_IS_BELOW)).all()):
        raise ValueError(
            "attention_mask adds numbers to attention logits that are no padding, which a mixer cannot keep; "
            "give 0 for real tokens and -inf for padding, or a bool mask [batch, tokens]"
        )
    return real
