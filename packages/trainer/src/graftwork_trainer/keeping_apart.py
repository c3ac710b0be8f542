"""Held-out items never stand in training: one rule for every task, whatever way its parts were given.

An item is known by a key, which is equal for what is the same to a reader: a text with white space and case
evened out, the pixels of a picture. Where a key stands on both sides the held-out item stays and the training
one goes, so that figures on held-out data mean the same whatever is trained on. How many went is a fact of
the run, and told in one sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

# Among the facts of a run's data, where there is any.
HELD_OUT_COPIES = "held_out_copies_left_out"
ItemT = TypeVar("ItemT")


def apart_from(
    train: Sequence[ItemT], held_out: Iterable[ItemT], key: Callable[[ItemT], Hashable]
) -> list[ItemT]:
    """The training items that are not held out too, in their order.

    Args:
        train: items to learn from.
        held_out: items for validation and test, drawn or given.
        key: what makes an item the same as another.

    >>> apart_from(["A", "b", "c"], ["a", "d"], str.casefold)
    ['b', 'c']
    """
    keys = set(map(key, held_out))
    return [item for item in train if key(item) not in keys]


def told_copies(copies: int, items: str, alike: str) -> str:
    """What to say of training items that were left out, to stand after the name of the data.

    Args:
        copies: how many there were.
        items: what they are, in the plural.
        alike: what was evened out before they were compared.

    >>> told_copies(3, "examples", "white space and case")
    '3 training examples stand among the held-out ones too (up to white space and case): not trained on'
    """
    return f"{copies:,} training {items} stand among the held-out ones too (up to {alike}): not trained on"
