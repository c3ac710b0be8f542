"""The rule by which held-out items stay out of training."""

from __future__ import annotations

import pytest

from graftwork_trainer.keeping_apart import apart_from


@pytest.mark.parametrize(
    ("train", "held_out", "kept"),
    [
        ("abc", "", "abc"),
        ("", "abc", ""),
        ("abcabc", "b", "acac"),
        ("abc", "CBA", ""),
        ("cab", "dB", "ca"),
    ],
)
def test_what_is_held_out_wins_and_order_stays(train: str, held_out: str, kept: str) -> None:
    assert apart_from(train, held_out, str.casefold) == list(kept)


def test_held_out_items_may_come_as_a_stream() -> None:
    assert apart_from([1, 2, 3], iter([2]), int) == [1, 3]
