"""What a mixer can do, as data of its class."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What callers may ask of a mixer.

    Args:
        masks: takes a mask of real tokens, and keeps the mask contract of the package.
        any_length: takes any number of tokens from 1 to ``max_len``; otherwise ``max_len`` exactly.
        causal: can be built so that no token sees a later one.
        cross: can attend from one sequence to another.
        reuses_qkv: the weights of a softmax attention mean the same in it.
        needs_positions: does not see the order of tokens, which the model has to add.

    >>> Capabilities(masks=True, any_length=True).causal
    False
    """

    masks: bool = False
    any_length: bool = False
    causal: bool = False
    cross: bool = False
    reuses_qkv: bool = False
    needs_positions: bool = False
