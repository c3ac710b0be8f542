"""Which tokens and channels are chosen, and what becomes of them in another length."""

from __future__ import annotations

import pytest
import torch

from graftwork_attention.s3.selection import draw, rescaled


def test_a_draw_depends_on_its_arguments_alone() -> None:
    torch.manual_seed(1)
    first = draw(0, 0, "tokens", 8, 100)
    torch.manual_seed(2)
    # Written down, so that weights of other machines and releases keep their meaning.
    assert first.tolist() == draw(0, 0, "tokens", 8, 100).tolist() == [21, 39, 43, 48, 55, 58, 66, 80]
    others = [draw(1, 0, "tokens", 8, 100), draw(0, 1, "tokens", 8, 100), draw(0, 0, "channels", 8, 100)]
    assert all(not torch.equal(first, other) for other in others)


def test_draws_are_distinct_sorted_and_uniform() -> None:
    counts = torch.zeros(10)
    for seed in range(2000):
        drawn = draw(seed, 3, "tokens", 4, 10)
        assert drawn.diff().min() > 0
        counts[drawn] += 1
    # 800 expected of each, with a standard deviation of 22.
    assert (counts - 800).abs().max() < 100


def test_a_draw_is_made_on_the_device_where_a_model_is_built() -> None:
    with torch.device("meta"):
        assert draw(0, 0, "tokens", 8, 100).is_meta


@pytest.mark.parametrize("new", [8, 9, 37, 64, 100, 1000])
def test_rescaled_positions_keep_their_fractions_and_stay_distinct(new: int) -> None:
    index = draw(5, 0, "tokens", 8, 64)
    found = rescaled(index, 64, new)
    assert found.diff().min() > 0
    assert found.min() >= 0
    assert found.max() < new
    if new >= 64:
        assert torch.equal(found, index * new // 64)


def test_a_length_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="a length of 4 has no room for 8 landmarks"):
        rescaled(torch.arange(8), 16, 4)
