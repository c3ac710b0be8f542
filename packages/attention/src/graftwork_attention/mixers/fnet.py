"""FNet's mixer (arXiv:2105.03824, eq. 3): the real part of a Fourier transform over tokens and channels.

    y = Re F_tokens F_channels x

There is nothing to learn. The transform over tokens always has the length ``max_len``, with zeros behind the
sequence: one of the sequence's own length, as published code has, would give other outputs with other amounts
of padding.

Cost: max_len·dim·log(max_len·dim), whatever the number of tokens.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from graftwork_attention.capabilities import Capabilities
from graftwork_attention.mixer import Mixer
from graftwork_attention.mixers.ranges import check_one_of
from graftwork_attention.precision import at_least_float32


class FourierMixer(Mixer):
    """Mix by Fourier transforms; no parameters.

    Frequencies count positions, so padding in front of a sequence makes it another sequence.

    Args:
        dim: width of a token.
        heads: divides ``dim``; makes no difference here.
        max_len: the largest number of tokens, and the length of the transform.
        layer_index: which layer of a model it is; makes no difference here.
        norm: ``"backward"`` as published, with outputs √(tokens·dim) times as large as inputs, for a norm to
            follow; ``"ortho"`` divides by √(max_len·dim).

    Raises:
        ValueError: an option is out of its range.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(masks=True, any_length=True)

    def __init__(
        self,
        dim: int,
        heads: int,
        max_len: int,
        *,
        layer_index: int = 0,
        norm: Literal["backward", "ortho"] = "backward",
    ) -> None:
        super().__init__(dim, heads, max_len, layer_index=layer_index)
        check_one_of("norm", norm, ("backward", "ortho"))
        self.norm = norm

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        tokens = x.shape[1]
        # Half of the channels' frequencies; the others of a real x are conjugates at the opposite place.
        over_channels = torch.fft.rfft(at_least_float32(x), dim=2, norm=self.norm)
        half = torch.fft.fft(over_channels, n=self.max_len, dim=1, norm=self.norm).real
        opposite = (-torch.arange(tokens, device=x.device)) % self.max_len
        mirrored = half[:, opposite, 1 : (self.dim + 1) // 2].flip(2)
        return torch.cat((half[:, :tokens], mirrored), 2).to(x.dtype)
