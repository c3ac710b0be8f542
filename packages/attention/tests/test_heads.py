"""Heads: views of a width, and which numbers divide it."""

from __future__ import annotations

import pytest
import torch

from graftwork_attention.heads import check_heads, fitting, merge_heads, split_heads


def test_a_head_is_a_run_of_channels_and_merging_undoes_splitting() -> None:
    x = torch.randn(2, 5, 12)
    heads = split_heads(x, 3)
    assert heads.shape == (2, 3, 5, 4)
    assert torch.equal(heads[:, 1], x[:, :, 4:8])
    assert torch.equal(merge_heads(heads), x)


@pytest.mark.parametrize(
    ("dim", "heads", "said"), [(12, 5, "4 and 6"), (12, 0, "1"), (12, 24, "12"), (7, 2, "1 and 7")]
)
def test_heads_that_do_not_divide_are_told_which_do(dim: int, heads: int, said: str) -> None:
    assert fitting(dim, heads) == said
    with pytest.raises(ValueError, match=f"heads must divide dim={dim}, got {heads}; {said} would do"):
        check_heads(dim, heads)


def test_a_width_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        check_heads(0, 1)
