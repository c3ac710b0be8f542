"""The normalisations of the stem, as scales and shifts: batch statistics over real tokens alone.

``position_batch`` is what the listing of arXiv:2408.08567 does: batch normalisation whose channels are the
*positions*, so that each position has a mean and a variance over batch and width, its own running ones, scale
and shift. ``channel_batch`` is the usual one over batch and positions. Both couple the samples of a batch in
training. ``layer`` normalises every token by itself, which needs neither batch nor length.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork_attention.masks import zeroed
from graftwork_attention.precision import at_least_float32
from graftwork_attention.s3.presets import Norm

MOMENTUM = 0.1
"""By which running statistics go towards those of a batch, torch's."""


class StemNorm(nn.Module):
    """Scale and shift of a normalisation.

    Args:
        norm: ``layer``, ``position_batch`` or ``channel_batch``.
        dim: width of a token.
        max_len: the largest number of tokens.
        eps: added to variances.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: Norm, dim: int, max_len: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.axis: Literal["layer", "position", "channel"]
        self.axis = "layer" if norm == "layer" else "position" if norm == "position_batch" else "channel"
        self.eps = eps
        size = max_len if self.axis == "position" else dim
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        if self.axis != "layer":
            self.register_buffer("running_mean", torch.zeros(size))
            self.register_buffer("running_var", torch.ones(size))

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scale and shift for ``x [batch, tokens, dim]``, as the kernel ``stem_epilogue`` takes them.

        For ``layer`` they are its weight and bias, and the kernel takes the statistics of each token. For the
        others the statistics are in them: of the batch in training, which also moves the running ones, and
        the running ones otherwise. Positions beyond x are left as they are.

        Args:
            x: ``[batch, tokens, dim]``.
            mask: bool ``[batch, tokens]`` or None.
        """
        if self.axis == "layer":
            return self.weight, self.bias
        used = slice(x.shape[1]) if self.axis == "position" else slice(None)
        if self.training:
            mean, variance = self._of_batch(x, mask, used)
        else:
            mean, variance = self.running_mean[used], self.running_var[used]
        scale = self.weight[used] * torch.rsqrt(variance + self.eps)
        return scale, self.bias[used] - mean * scale

    def _of_batch(self, x: Tensor, mask: Tensor | None, used: slice) -> tuple[Tensor, Tensor]:
        over = (0, 2) if self.axis == "position" else (0, 1)
        x = at_least_float32(x)
        if mask is None:
            variance, mean = torch.var_mean(x, over, correction=0)
            count = torch.tensor(x.numel() // mean.numel(), device=x.device)
        else:
            count = mask.sum(0) * x.shape[2] if self.axis == "position" else mask.sum()
            mean = zeroed(x, mask).sum(over) / count.clamp(min=1)
            centred = zeroed(x - (mean[:, None] if self.axis == "position" else mean), mask)
            variance = centred.square().sum(over) / count.clamp(min=1)
        with torch.no_grad():
            # Nothing is learned about a position that no sample of the batch has.
            share = torch.where(count > 0, MOMENTUM, 0.0)
            unbiased = variance * (count / (count - 1).clamp(min=1))
            for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
                kept = running[used]
                kept.add_((share * (new - kept)).to(kept.dtype))
        return mean, variance

    def resize_length(self, max_len: int) -> None:
        """Interpolate what belongs to positions; the rest has no length."""
        if self.axis != "position":
            return
        for name in ("weight", "bias"):
            old = getattr(self, name)
            setattr(self, name, nn.Parameter(_interpolated(old.detach(), max_len), old.requires_grad))
        for name in ("running_mean", "running_var"):
            setattr(self, name, _interpolated(getattr(self, name), max_len))

    def extra_repr(self) -> str:
        return f"{self.axis}, size={len(self.weight)}, eps={self.eps}"


def _interpolated(values: Tensor, length: int) -> Tensor:
    return functional.interpolate(values[None, None], size=length, mode="linear", align_corners=False)[0, 0]
