"""How an attention is made: looked at, and its maps read and written."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graftwork_attention.conversion.layout import Layout

FUSED = Layout(("qkv",), "heads", "proj")
APART = Layout(("q", "k", "v"), "heads", "proj")


class Fused(nn.Module):
    def __init__(self, dim: int = 8, *, bias: bool = True) -> None:
        super().__init__()
        self.heads, self.scaling = 2, (dim / 2) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=bias), nn.Linear(dim, dim)


class Apart(nn.Module):
    def __init__(self, dim: int = 8, inner: int = 8) -> None:
        super().__init__()
        self.heads, self.scaling, self.is_causal = 2, (dim / 2) ** -0.5, False
        self.q, self.k, self.v = (nn.Linear(dim, inner) for _ in range(3))
        self.proj = nn.Linear(inner, dim)


@pytest.mark.parametrize("bias", [True, False])
def test_one_map_to_all_three_is_three_maps(bias):
    attention, other = Fused(bias=bias), Fused(bias=bias)
    maps = FUSED.maps(attention, attention.proj)
    assert torch.equal(maps["key.weight"], attention.qkv.weight[8:16])
    assert ("key.bias" in maps) == bias
    FUSED.put_back(other, other.proj, maps)
    assert all(torch.equal(a, b) for a, b in zip(attention.parameters(), other.parameters(), strict=True))


def test_three_maps_are_read_and_written():
    attention, other = Apart(), Apart()
    APART.put_back(other, other.proj, APART.maps(attention, attention.proj))
    assert all(torch.equal(a, b) for a, b in zip(attention.parameters(), other.parameters(), strict=True))


def changed(**attributes):
    attention = Apart()
    for name, value in attributes.items():
        setattr(attention, name, value)
    return attention


@pytest.mark.parametrize(
    ("attention", "why"),
    [
        (Apart(), ""),
        (changed(is_causal=True), "is causal, and mixers are bidirectional"),
        (changed(scaling=1.0), "scales its logits in another way"),
        (changed(distances=nn.Embedding(3, 8)), "has distances.weight, which no mixer has a place for"),
        (changed(sinks=nn.Parameter(torch.ones(2))), "has sinks, which no mixer has a place for"),
        (Apart(inner=16), "has heads that do not share out its width of 8"),
        (changed(heads=3), "has heads that do not share out its width of 8"),
        (changed(proj=nn.Linear(8, 4)), "has an output map that is not 8 wide"),
        (changed(k=nn.Sequential(nn.Linear(8, 8))), "has no plain torch.nn.Linear k, as those have that"),
        (changed(proj=nn.Identity()), "has no plain torch.nn.Linear proj, as those have that"),
        (nn.Identity(), "has no plain torch.nn.Linear q, as those have that"),
    ],
)
def test_what_is_not_as_the_layout_says_is_told(attention, why):
    told = APART.refusal(attention, nn.ModuleDict({"attention": attention}))
    assert (told == why) if not why else told.startswith(why)


def test_an_output_map_may_stand_beside_the_attention():
    layout = Layout(("q", "k", "v"), "heads", "output.dense", outside=True)
    attention = Apart()
    attention.output, attention.proj = nn.Identity(), nn.Identity()
    around = nn.ModuleDict({"output": nn.ModuleDict({"dense": nn.Linear(8, 8)})})
    assert layout.refusal(attention, around) == ""
    around["output"]["dense"] = nn.Bilinear(8, 8, 8)
    assert layout.refusal(attention, around).startswith("has no plain torch.nn.Linear output.dense")
