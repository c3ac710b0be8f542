"""Statistics of the stem's norms: torch's where there is no mask, those of the real tokens where there is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graftwork_attention.kernels.stem_epilogue_reference import stem_epilogue
from graftwork_attention.s3.norms import StemNorm


def normalised(norm: StemNorm, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """What the epilogue makes of it before the activation: ReLU leaves y of y, or of -y."""
    scale, shift = norm(x, mask)
    options = {"norm": norm.axis, "activation": "relu", "eps": norm.eps, "dropout": 0.0}
    return stem_epilogue(x, scale, shift, mask, **options) - stem_epilogue(-x, scale, -shift, mask, **options)


def test_position_batch_is_batch_normalisation_with_positions_for_channels() -> None:
    ours, theirs = StemNorm("position_batch", 6, 5).double(), nn.BatchNorm1d(5).double()
    for _ in range(3):
        x = torch.randn(4, 5, 6, dtype=torch.float64) * 3 + 1
        torch.testing.assert_close(normalised(ours, x), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(normalised(ours, x), theirs(x))


def test_channel_batch_is_batch_normalisation_over_batch_and_positions() -> None:
    ours, theirs = StemNorm("channel_batch", 6, 9).double(), nn.BatchNorm1d(6).double()
    for _ in range(2):
        x = torch.randn(4, 5, 6, dtype=torch.float64) * 3 + 1
        torch.testing.assert_close(normalised(ours, x), theirs(x.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(ours.running_var, theirs.running_var)


@pytest.mark.parametrize("norm", ["position_batch", "channel_batch"])
def test_statistics_are_those_of_real_tokens(norm: str) -> None:
    masked, packed = StemNorm(norm, 6, 5).double(), StemNorm(norm, 6, 5).double()
    x = torch.randn(3, 5, 6, dtype=torch.float64)
    # Every sample has the first three tokens, so that without padding they are a batch of their own.
    mask = (torch.arange(5) < 3).expand(3, -1)
    found = normalised(masked, torch.where(mask[..., None], x, float("nan")), mask)
    torch.testing.assert_close(found[:, :3], normalised(packed, x[:, :3]))
    assert (found[:, 3:] == 0).all()
    torch.testing.assert_close(masked.running_mean, packed.running_mean)
    torch.testing.assert_close(masked.running_var, packed.running_var)


def test_a_mask_of_ones_is_no_mask_and_a_position_without_a_token_learns_nothing() -> None:
    x = torch.randn(3, 5, 6, dtype=torch.float64)
    ours, other = StemNorm("position_batch", 6, 8).double(), StemNorm("position_batch", 6, 8).double()
    torch.testing.assert_close(normalised(ours, x), normalised(other, x, torch.ones(3, 5, dtype=torch.bool)))
    torch.testing.assert_close(ours.running_var, other.running_var)
    assert (ours.running_mean[5:] == 0).all()
    assert (ours.running_var[5:] == 1).all()


def test_resizing_interpolates_what_belongs_to_positions_and_nothing_else() -> None:
    norm = StemNorm("position_batch", 6, 4)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 1.0, 3.0, 3.0]))
    norm.running_mean.fill_(5)
    norm.resize_length(8)
    assert norm.weight.shape == norm.running_var.shape == (8,)
    assert norm.weight[0] == 1
    assert norm.weight[-1] == 3
    assert (norm.running_mean == 5).all()
    layer = StemNorm("layer", 6, 4)
    before = layer.weight
    layer.resize_length(8)
    assert layer.weight is before
