"""What transformers' models call where an attention stood: their padding mask, as it is.

transformers asks by a model's ``attn_implementation`` which masks it wants. Without an entry for one it hands
None to attention, whatever was padded.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import bidirectional_mask_function

IMPLEMENTATION = "graftwork_mixer"


def _unchanged_mask(
    *, attention_mask: Tensor | None = None, mask_function: Any = bidirectional_mask_function, **_: Any
) -> Tensor | None:
    """The padding mask ``[batch, tokens]``, true where a token is real, as a user gave it."""
    if mask_function is not bidirectional_mask_function:
        raise ValueError(
            "a mixer cannot keep a mask over pairs of tokens (causal, sliding or chosen by the model); take "
            "restore(model) for this call"
        )
    return attention_mask


def _unconverted(module: nn.Module, *_: Any, **__: Any) -> Any:
    """What an attention calls that has no mixer in its place."""
    raise ValueError(
        f"{type(module).__name__} was not converted, and attn_implementation={IMPLEMENTATION!r} is for "
        "models that are: load it with another, then call graftwork_attention.conversion.convert(model)"
    )


AttentionInterface.register(IMPLEMENTATION, _unconverted)
AttentionMaskInterface.register(IMPLEMENTATION, _unchanged_mask)


def own_configuration(model: PreTrainedModel) -> None:
    """Give a model a copy of its configuration, and all its parts that read it, which other models may share.

    Attention asks the configuration which implementation to call, and so would that of a model which was made
    from the same one and not converted.
    """
    copies: dict[int, Any] = {}
    copy.deepcopy(model.config, copies)
    for part in model.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, PreTrainedConfig) and id(value) in copies:
                setattr(part, name, copies[id(value)])


def hand_over_masks(model: PreTrainedModel) -> None:
    """Have a model hand padding masks to its attention as they are."""
    model.set_attn_implementation(IMPLEMENTATION)
