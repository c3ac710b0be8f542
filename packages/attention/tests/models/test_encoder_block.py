"""A block around any mixer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graftwork import Kind, choose, get_registry
from graftwork_attention import EncoderBlock

MIXERS = [get_registry().name_of(entry) for entry in get_registry().entries(Kind.ATTENTION)]


class Doubling(nn.Module):
    """A stranger's: nothing of this package, no capabilities."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return 2 * x


def test_a_block_is_what_its_equations_say() -> None:
    block = EncoderBlock(8, Doubling(), hidden=12).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    normed = (x - x.mean(2, keepdim=True)) / (x.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    middle = x + 2 * normed
    first, last = block.mlp[0], block.mlp[3]
    inner = nn.functional.layer_norm(middle, (8,)) @ first.weight.T + first.bias
    expected = middle + nn.functional.gelu(inner) @ last.weight.T + last.bias
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("name", MIXERS)
def test_every_registered_mixer_fits_and_every_parameter_learns(name: str) -> None:
    block = EncoderBlock(16, choose(Kind.ATTENTION, name)(16, 2, 12, layer_index=0), hidden=16)
    block(torch.randn(2, 12, 16), torch.arange(12) < torch.tensor([[12], [7]])).square().sum().backward()
    assert [name for name, weight in block.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0, "hidden": 1}, "dim must be at least 1, got 0"),
        ({"dim": 8, "hidden": 0}, "hidden must be at least 1, got 0"),
        ({"dim": 8, "hidden": 8, "dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_an_option_out_of_its_range_is_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoderBlock(mixer=Doubling(), **options)
