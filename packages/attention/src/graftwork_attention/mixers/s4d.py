"""S4D (arXiv:2206.11893): every channel passes a diagonal linear state space, once in each direction.

    s[t] = exp(Δa) s[t-1] + (exp(Δa) - 1)/a u[t],    y[t] = 2 Re(c s[t]) + D u[t]    (zero-order hold, b = 1)

with ``states``/2 complex numbers a per channel for as many conjugate pairs. As a convolution, which Fourier
transforms of twice the length compute:

    y = K * u + D u,    K[l] = 2 Re Σ c (exp(Δa) - 1)/a · exp(Δa l)

At first a = -½ + iπn (S4D-Lin) and Δ is log-uniform. A second system of the same form runs backwards; the
outputs of both, concatenated, pass GELU and a gated linear map.

Cost: tokens·dim·log(tokens) for the transforms; per token 4·dim² multiply-adds for the map, and 2·states·dim,
once for a batch, for the kernels.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork_attention.capabilities import Capabilities
from graftwork_attention.mixer import Mixer
from graftwork_attention.mixers.ranges import check_positive, check_whole
from graftwork_attention.precision import at_least_float32, without_autocast


class DiagonalStateSpaceMixer(Mixer):
    """A diagonal state space per channel and direction, GELU, and a gated linear map.

    Padding within a sequence stands for zeros as input, through which states decay.

    Args:
        dim: width of a token.
        heads: divides ``dim``; makes no difference here.
        max_len: the largest number of tokens.
        layer_index: which layer of a model it is; makes no difference here.
        states: real states per channel and direction, even, 2 or more: half as many conjugate pairs.
        step_min: smallest step Δ at first, greater than 0; a state forgets within about 2/Δ tokens.
        step_max: largest step Δ at first, at least ``step_min``.

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
        states: int = 64,
        step_min: float = 1e-3,
        step_max: float = 1e-1,
    ) -> None:
        super().__init__(dim, heads, max_len, layer_index=layer_index)
        check_whole("states", states, 2)
        if states % 2:
            raise ValueError(f"states must be even, got {states}; {states - 1} and {states + 1} would do")
        check_positive("step_min", step_min)
        if step_max < step_min:
            raise ValueError(f"step_max must be at least step_min={step_min}, got {step_max}")
        pairs = states // 2
        low, high = math.log(step_min), math.log(step_max)
        self.log_step = nn.Parameter(torch.empty(2, dim).uniform_(low, high))
        self.log_decay = nn.Parameter(torch.full((2, dim, pairs), math.log(0.5)))
        self.frequency = nn.Parameter((math.pi * torch.arange(pairs)).expand(2, dim, pairs).clone())
        # Real and imaginary part of c, together of variance 1.
        self.read_out = nn.Parameter(torch.randn(2, dim, pairs, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.randn(2, dim))
        self.output = nn.Linear(2 * dim, 2 * dim)

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        tokens = x.shape[1]
        with without_autocast(x):
            u = at_least_float32(x).mT.contiguous()
            spectrum = torch.fft.rfft(u, n=2 * tokens)
            forwards, backwards = torch.fft.rfft(self.kernels(tokens), n=2 * tokens).unbind(0)
            # The conjugate of a kernel's spectrum runs it backwards in time.
            both = torch.stack((spectrum * forwards, spectrum * backwards.conj()), 1)
            y = torch.fft.irfft(both, n=2 * tokens)[..., :tokens]
            y = y + u[:, None] * at_least_float32(self.skip)[..., None]
        hidden = F.gelu(y.flatten(1, 2).mT.to(x.dtype))
        return F.glu(self.output(hidden), dim=-1)

    def kernels(self, tokens: int) -> Tensor:
        """The convolution kernels K of the two directions, real ``[2, dim, tokens]``.

        Their positions are written l = width·row + column, so that exp(Δa l) is a product of two short tables
        and the sum over states a product of matrices: no table of states and tokens is made.
        """
        step = at_least_float32(self.log_step).exp()[..., None]
        decay, frequency = -at_least_float32(self.log_decay).exp(), at_least_float32(self.frequency)
        width = math.isqrt(tokens - 1) + 1
        rows = math.ceil(tokens / width)

        def powers(positions: Tensor) -> tuple[Tensor, Tensor]:
            """Real and imaginary part of exp(Δa l), ``[2, dim, positions, pairs]``."""
            places = positions.to(step)[:, None]
            size = ((step * decay)[..., None, :] * places).exp()
            angle = (step * frequency)[..., None, :] * places
            return size * angle.cos(), size * angle.sin()

        # c (exp(Δa) - 1)/a
        real, imaginary = powers(torch.ones(1, device=step.device))
        gain = _product(
            at_least_float32(self.read_out).unbind(-1), (real[..., 0, :] - 1, imaginary[..., 0, :])
        )
        square = decay.square() + frequency.square()
        gain = _product(gain, (decay / square, -frequency / square))
        real, imaginary = _product(
            (gain[0][..., None, :], gain[1][..., None, :]),
            powers(width * torch.arange(rows, device=step.device)),
        )
        column_real, column_imaginary = powers(torch.arange(width, device=step.device))
        kernel = 2 * (real @ column_real.mT - imaginary @ column_imaginary.mT)
        return kernel.flatten(2)[..., :tokens]


def _product(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The product of two complex numbers as pairs, in real arithmetic, which compilers fuse."""
    (a, b), (c, d) = one, other
    return a * c - b * d, a * d + b * c
