"""What the base class keeps away from a mixer, and from what comes after it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graftwork_attention import Capabilities, Mixer


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


def test_what_does_not_fit_is_refused_by_the_name_of_the_mixer() -> None:
    with pytest.raises(ValueError, match="Marked was built for at most max_len=8 tokens"):
        Marked(4, 2, 8)(torch.zeros(1, 9, 4))
    with pytest.raises(ValueError, match="Marked takes no is_causal"):
        Marked(4, 2, 8)(torch.zeros(1, 8, 4), is_causal=False)
    with pytest.raises(TypeError, match="Marked takes no argument 'colour'"):
        Marked(4, 2, 8)(torch.zeros(1, 8, 4), colour=1)


@pytest.mark.parametrize(
    ("sizes", "layer", "said"), [((4, 3, 8), 0, "heads"), ((4, 2, 0), 0, "max_len"), ((4, 2, 8), -1, "layer")]
)
def test_sizes_that_do_not_fit_are_refused(sizes: tuple[int, int, int], layer: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Marked(*sizes, layer_index=layer)
