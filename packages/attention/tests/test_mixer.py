"""What the base class keeps away from a mixer, and from what comes after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_attention import (
    Capabilities,
    DiagonalStateSpaceMixer,
    FourierMixer,
    LinformerAttention,
    Mixer,
    NystromAttention,
    PerformerAttention,
    S3Attention,
    SoftmaxAttention,
)


class Marked(Mixer):
    """Adds one to what it gets, and keeps it."""

    capabilities = Capabilities(masks=True, any_length=True)

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self.got = x
        return x + 1


def test_padding_reaches_neither_the_mixer_nor_its_caller() -> None:
    mixer, mask = Marked(4, 2, 8), torch.tensor([[True, False, True]])
    x = torch.full((1, 3, 4), float("nan"))
    x[mask] = 2
    assert mixer(x, mask)[0, :, 0].tolist() == [3, 0, 3]
    assert mixer.got[0, :, 0].tolist() == [2, 0, 2]
    assert mixer(x[:, :1])[0, :, 0].tolist() == [3]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(2, 0, 8), (0, 8, 8), (0, 0, 8)], ids=str)
@pytest.mark.parametrize(
    "kind",
    [
        SoftmaxAttention,
        S3Attention,
        NystromAttention,
        LinformerAttention,
        PerformerAttention,
        FourierMixer,
        DiagonalStateSpaceMixer,
    ],
)
def test_nothing_in_gives_nothing_out(
    kind: Callable[..., Mixer], shape: tuple[int, int, int], masked: bool
) -> None:
    options = {"landmarks": 4} if kind is NystromAttention else {}
    x = torch.zeros(shape, requires_grad=True)
    y = kind(8, 2, 8, **options)(x, torch.ones(shape[:2], dtype=torch.bool) if masked else None)
    assert y.shape == shape
    y.sum().backward()
    assert x.grad is not None


def test_what_does_not_fit_is_refused_by_the_name_of_the_mixer() -> None:
    with pytest.raises(ValueError, match="Marked was built for at most max_len=8 tokens"):
        Marked(4, 2, 8)(torch.zeros(1, 9, 4))
    with pytest.raises(ValueError, match="Marked takes no is_causal"):
        Marked(4, 2, 8)(torch.zeros(1, 8, 4), is_causal=False)
    with pytest.raises(TypeError, match="Marked takes no argument 'colour'"):
        Marked(4, 2, 8)(torch.zeros(1, 8, 4), colour=1)


@pytest.mark.parametrize(
    ("sizes", "layer", "said"),
    [
        ((4, 3, 8), 0, "heads"),
        ((4, 2, 0), 0, "max_len"),
        ((4, 2, 8), -1, "layer"),
        ((4.0, 2, 8), 0, "dim must be a whole number, got 4.0"),
        ((4, 2.0, 8), 0, "heads must be a whole number, got 2.0"),
        ((4, 2, "8"), 0, "max_len must be a whole number, got '8'"),
        ((4, 2, 8), None, "layer_index must be a whole number, got None"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: Any, layer: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Marked(*sizes, layer_index=layer)
