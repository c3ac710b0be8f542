"""The contract of a mixer as a base class: what is given is checked, and padding never gets further."""

from __future__ import annotations

from numbers import Integral
from typing import ClassVar

from torch import Tensor, nn

from graftwork_attention.capabilities import Capabilities
from graftwork_attention.heads import check_heads
from graftwork_attention.masks import check_input, refuse_arguments, zeroed


class Mixer(nn.Module):
    """A token mixer over ``x [batch, tokens, dim]``; a subclass gives :meth:`mix` and ``capabilities``.

    Nothing outside this package needs the class: a mixer is any module of the same ``forward`` with
    ``capabilities``.

    Args:
        dim: width of a token.
        heads: divides ``dim``.
        max_len: the largest number of tokens.
        layer_index: which layer of a model it is, from 0, so that layers draw different random choices.

    Raises:
        ValueError: a size does not fit.
    """

    capabilities: ClassVar[Capabilities]

    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> None:
        super().__init__()
        sizes: dict[str, object] = {
            "dim": dim,
            "heads": heads,
            "max_len": max_len,
            "layer_index": layer_index,
        }
        for size, given in sizes.items():
            if not isinstance(given, Integral):
                raise ValueError(f"{size} must be a whole number, got {given!r}")
        check_heads(dim, heads)
        if max_len < 1:
            raise ValueError(f"max_len must be at least 1, got {max_len}")
        if layer_index < 0:
            raise ValueError(f"layer_index must be at least 0, got {layer_index}")
        self.dim, self.heads, self.max_len, self.layer_index = dim, heads, max_len, layer_index

    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        """Mix.

        Args:
            x: ``[batch, tokens, dim]``, at most ``max_len`` tokens.
            mask: bool ``[batch, tokens]``, True where a token is real; None where all are.
            refused: what other attentions take, so that a sentence can say what to take instead.

        Returns:
            ``[batch, tokens, dim]``, zeros where a token is not real.

        Raises:
            ValueError: the input does not fit, or asks for what no mixer here does.
        """
        name = type(self).__name__
        if refused:
            refuse_arguments(name, refused)
        check_input(x, mask, mixer=name, dim=self.dim, max_len=self.max_len)
        if x.shape[1] == 0:
            return x.clone()  # Nothing to mix, which convolutions and maxima refuse.
        return zeroed(self.mix(zeroed(x, mask), mask), mask)

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """What the mixer does with an input that fits and is zero where the mask is False.

        What it returns at padding is thrown away; a sample without a real token must give finite numbers.
        """
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"dim={self.dim}, heads={self.heads}, max_len={self.max_len}"
