"""What goes in and comes out: shapes, lengths, samples that do not see each other, tokens that do."""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_attention.contract.check import ContractBroken, check
from graftwork_attention.contract.subject import (
    DIM,
    MAX_LEN,
    TOLERANCES,
    Subject,
    difference,
    inputs,
    real_first,
)


@check("shape", "gives an output of its input's shape and dtype, and leaves the input as it was")
def shape(subject: Subject) -> None:
    for dtype in (torch.float64, torch.float32):
        module = subject.module(dtype=dtype)
        for batch in (1, 3):
            x = inputs(batch, dtype=dtype)
            before = x.clone()
            y = module(x)
            if not isinstance(y, Tensor) or y.shape != x.shape or y.dtype != dtype:
                found = f"{y.dtype} {list(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
                raise ContractBroken(f"made {found} of {dtype} {list(x.shape)}")
            if not torch.equal(x, before):
                raise ContractBroken("wrote into its input")


@check("lengths", "takes the lengths that it says it takes, and refuses all others with a ValueError")
def lengths(subject: Subject) -> None:
    module = subject.module()
    fitting = (1, 2, 3, MAX_LEN - 1, MAX_LEN) if subject.capabilities.any_length else (MAX_LEN,)
    for tokens in fitting:
        if module(inputs(2, tokens)).shape != (2, tokens, DIM):
            raise ContractBroken(f"made another shape of {tokens} tokens")
    others = [MAX_LEN + 1] if subject.capabilities.any_length else [MAX_LEN + 1, MAX_LEN - 1]
    for tokens in others:
        try:
            found = module(inputs(2, tokens))
        except ValueError as error:
            if str(tokens) in str(error) and str(MAX_LEN) in str(error):
                continue
            raise ContractBroken(
                f"{tokens} tokens where max_len is {MAX_LEN} are refused without naming both: {error}"
            ) from error
        raise ContractBroken(f"took {tokens} tokens where max_len is {MAX_LEN}, and made {list(found.shape)}")


@check("samples-apart", "mixes within samples only: another sample in the batch changes nothing")
def samples_apart(subject: Subject) -> None:
    x = inputs(3)
    other = x.clone()
    other[1:] = 30 * inputs(2, seed=1) + 1
    with_masks = [None, real_first((7, 9, 24))] if subject.capabilities.masks else [None]
    for training in subject.modes():
        module = subject.module(training=training)
        for mask in with_masks:
            gap = difference(module(other, mask)[0], module(x, mask)[0])
            if gap > TOLERANCES[x.dtype]:
                raise ContractBroken(f"other samples in its batch change a sample's outputs by {gap:.1e}")


@check("mixes", "lets tokens see each other")
def mixes(subject: Subject) -> None:
    module, x = subject.module(), inputs(1)
    other = x.clone()
    other[:, 5] += 1
    gaps = (module(other) - module(x)).abs().amax((0, 2))
    gaps[5] = 0
    if not gaps.max() > 0:
        raise ContractBroken("a change of token 5 changes no other token's output")


@check("order", "sees the order of tokens, where it says that it needs no positions added")
def order(subject: Subject) -> None:
    if subject.capabilities.needs_positions:
        return
    module, x = subject.module(), inputs(2)
    turned = difference(module(x.flip(1)).flip(1), module(x))
    shifted = difference(module(x.roll(1, 1)).roll(-1, 1), module(x))
    if min(turned, shifted) < 1e-6:
        raise ContractBroken(
            f"says needs_positions=False, yet turning the sequence changes outputs by {turned:.1e} only, and "
            f"shifting it by {shifted:.1e}"
        )


CHECKS = (shape, lengths, samples_apart, mixes, order)
