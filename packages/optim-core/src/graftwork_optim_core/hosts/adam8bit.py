"""Adam with its averages in eight bits as an update host.

Source: Dettmers et al., 8-bit Optimizers via Block-wise Quantization, arXiv:2110.02861, section 2: at each
step the averages are made from their codes, updated in full precision, used, and stored as codes again. Codes
and scales, one a block of 256 columns of a row, are those of
:mod:`graftwork_optim_core.numerics.quantization`.

The update is that of :mod:`graftwork_optim_core.hosts.adamw`. Weights of less than 4096 coarse coefficients,
which would save little, keep their averages as they are, and so do vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from graftwork_optim_core.hosts.adamw import AdamWHost
from graftwork_optim_core.numerics.quantization import (
    dequantize,
    quantize,
    quantize_into,
    scales_shape,
)
from graftwork_optim_core.subspace.host import Averages, write_gated
from graftwork_optim_core.subspace.site import Slot

LEAST_ELEMENTS = 4096
"""Of a coarse gradient whose averages are quantized."""

_SIGNED = (True, False)
"""Of the running mean, and of the mean square."""


@dataclass(frozen=True)
class Adam8bitHost(AdamWHost):
    """Adam in the coarse space, its averages in eight bits.

    Args:
        betas: decay of the running mean and of the running mean square, each in [0, 1).
        eps: added to the root before its bias correction, greater than 0.

    Raises:
        ValueError: an option is out of its range.

    >>> slots = Adam8bitHost().slots((16, 512))
    >>> slots["exp_avg"].dtype, slots["exp_avg_scale"].shape
    (torch.uint8, (16, 2))
    """

    elementwise: ClassVar[bool] = False

    def slots(self, coarse_shape: tuple[int, int]) -> dict[str, Slot]:
        """Codes and scales of both averages; of small coarse gradients and of vectors Adam's two."""
        rows, columns = coarse_shape
        if rows == 1 or rows * columns < LEAST_ELEMENTS:
            return super().slots(coarse_shape)
        codes = Slot(coarse_shape, dtype=torch.uint8)
        scales = Slot(scales_shape(coarse_shape), dtype=torch.float32)
        return {
            "exp_avg": codes,
            "exp_avg_scale": scales,
            "exp_avg_sq": codes,
            "exp_avg_sq_scale": scales,
        }

    def load(self, stored: Averages, dtype: torch.dtype, *, copy: bool) -> list[list[Tensor]]:
        """Return both averages in the arithmetic's dtype, made from their codes where they are quantized."""
        if len(stored) == len(_SIGNED):
            return super().load(stored, dtype, copy=copy)
        return [
            [dequantize(*pair, signed, dtype) for pair in zip(codes, scales, strict=True)]
            for codes, scales, signed in zip(stored[::2], stored[1::2], _SIGNED, strict=True)
        ]

    def store(self, working: Averages, stored: Averages, gates: Sequence[Tensor] | None) -> None:
        """Write both averages back, as codes where they are quantized."""
        if len(stored) == len(_SIGNED):
            super().store(working, stored, gates)
            return
        for values, codes, scales, signed in zip(working, stored[::2], stored[1::2], _SIGNED, strict=True):
            for index, (value, own_codes, own_scales) in enumerate(zip(values, codes, scales, strict=True)):
                if gates is None:
                    quantize_into(value, own_codes, own_scales, signed)
                    continue
                new_codes, new_scales = quantize(value, signed)
                write_gated(own_codes, new_codes, gates[index])
                write_gated(own_scales, new_scales, gates[index])
