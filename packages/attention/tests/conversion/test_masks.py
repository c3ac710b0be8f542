"""Masks of libraries as masks of mixers."""

from __future__ import annotations

import pytest
import torch

from graftwork_attention.conversion.masks import key_padding

REAL = torch.tensor([[True, True, False], [True, False, False]])


@pytest.mark.parametrize("lowest", [-torch.inf, torch.finfo(torch.float16).min, -10000.0])
def test_every_form_says_the_same(lowest):
    assert key_padding(None) is None
    added = torch.zeros(2, 3).masked_fill(~REAL, lowest)
    for given in (REAL, REAL.long(), added, REAL[:, None, None], added[:, None, None]):
        assert torch.equal(key_padding(given), REAL)


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        (torch.zeros(2, 1, 3, 3), r"\[2, 1, 3, 3\]: a mixer cannot keep a mask over pairs"),
        (torch.zeros(2, 4, 1, 3), "a mask over pairs"),
        (torch.zeros(2, 3, 3, dtype=torch.bool), "a mask over pairs"),
        (torch.full((2, 3), -0.5), "adds numbers to attention logits that are no padding"),
        (torch.ones(2, 1, 1, 3), "adds numbers to attention logits that are no padding"),
        (torch.full((2, 3), torch.nan), "adds numbers to attention logits that are no padding"),
    ],
)
def test_what_is_no_padding_is_refused(mask, why):
    with pytest.raises(ValueError, match=why):
        key_padding(mask)
