"""Which tokens and channels a skeleton attention looks at: drawn once, kept as data.

Source: arXiv:2408.08567: uniformly at random, without replacement, once a layer, the same for every head and
sample, in training and after it. Drawn by a generator of their own, so that they depend on seed, layer and
sizes alone.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor


def draw(seed: int, layer_index: int, what: str, count: int, among: int) -> Tensor:
    """Return ``count`` of the numbers below ``among``, sorted, int64.

    Args:
        seed: of the model.
        layer_index: which layer, so that layers differ.
        what: a word for what is drawn, so that tokens and channels differ.
        count: how many.
        among: of how many.

    >>> draw(0, 0, "tokens", 3, 3)
    tensor([0, 1, 2])
    """
    # By name: a generator seeded with text is the same on every platform.
    chosen = random.Random(f"{what} {layer_index} {seed}").sample(range(among), count)
    # On the CPU first: the caller may be building a model on the meta device.
    return torch.tensor(sorted(chosen), dtype=torch.int64, device="cpu").to(torch.get_default_device())


def rescaled(index: Tensor, old: int, new: int) -> Tensor:
    """Positions of a length ``old`` at the same fractions of a length ``new``, still distinct and sorted.

    Raises:
        ValueError: there are more positions than the new length has.

    >>> rescaled(torch.tensor([0, 5, 9]), 10, 20), rescaled(torch.tensor([0, 1, 9]), 10, 4)
    (tensor([ 0, 10, 18]), tensor([0, 1, 3]))
    """
    count = len(index)
    if count > new:
        raise ValueError(f"a length of {new} has no room for {count} landmarks; take {count} tokens or more")
    # Each at least one after the last, and none so late that those after it find no room.
    place = torch.arange(count, device=index.device)
    ascending = (index * new // old - place).cummax(0).values.clamp(max=new - count)
    return ascending + place
