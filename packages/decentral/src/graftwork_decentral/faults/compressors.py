"""What is sent instead of a row: a few of its numbers, or few bits of each.

Every compressor turns rows ``[m, parameters]`` into bytes ``[m, length]``, of a length that depends on the
number of parameters alone, and back. What is drawn is a function of (seed, step, agent), so that the reader
draws it again and it need not be sent. Decoded values are float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from graftwork_decentral.draws import bits

_STREAM = 3
_BITS = 2 ** torch.arange(8, dtype=torch.uint8)


class Compressor(Protocol):
    """Rows to bytes and back."""

    @property
    def gamma(self) -> float:
        """How far to move towards the neighbours' copies where nothing else is said."""
        ...

    @property
    def gamma_with_memory(self) -> float:
        """The same for exact diffusion and EXTRA, whose corrections sum up what was not sent: measured on
        rings to converge up to here, and to diverge at four times as much or earlier."""
        ...

    def encode(self, rows: Tensor, agents: Sequence[int], step: int) -> Tensor:
        """Return the bytes, ``[m, length]`` in uint8.

        Args:
            rows: ``[m, parameters]``.
            agents: whose rows they are.
            step: of the training.
        """
        ...

    def decode(self, message: Tensor, agents: Sequence[int], step: int, width: int) -> Tensor:
        """Return the rows that the bytes say, ``[m, parameters]`` in float32.

        Args:
            message: of :meth:`encode`.
            agents: whose rows they are.
            step: of the training.
            width: the number of parameters.
        """
        ...


class TopK:
    """The largest numbers by size, with their places.

    Args:
        share: of the numbers that is sent.

    >>> compressor = TopK(share=0.5)
    >>> rows = torch.tensor([[1.0, -3.0, 2.0, 0.5]])
    >>> compressor.decode(compressor.encode(rows, [0], 0), [0], 0, 4)
    tensor([[ 0., -3.,  2.,  0.]])
    """

    def __init__(self, share: float = 0.1) -> None:
        self.share = _share(share)

    @property
    def gamma(self) -> float:
        """Measured with tracking on rings."""
        return min(1.0, 0.2 + 1.5 * self.share)

    @property
    def gamma_with_memory(self) -> float:
        """Measured."""
        return self.share / 2

    def encode(self, rows: Tensor, agents: Sequence[int], step: int) -> Tensor:
        places = rows.abs().topk(_count(self.share, rows.shape[1]), dim=1, sorted=False).indices
        values = rows.gather(1, places).float()
        return torch.cat([_as_bytes(values), _as_bytes(places.int())], dim=1)

    def decode(self, message: Tensor, agents: Sequence[int], step: int, width: int) -> Tensor:
        values, places = message.chunk(2, dim=1)
        decoded = torch.zeros(len(message), width, device=message.device)
        return decoded.scatter_(
            1, _from_bytes(places, torch.int32).long(), _from_bytes(values, torch.float32)
        )


class RandomK:
    """Numbers at places that are drawn anew for every agent and step.

    Args:
        share: of the numbers that is sent.
        seed: of the draws.

    >>> compressor = RandomK(share=0.5)
    >>> decoded = compressor.decode(compressor.encode(torch.ones(1, 10), [3], 7), [3], 7, 10)
    >>> float(decoded.sum())
    5.0
    """

    def __init__(self, share: float = 0.1, seed: int = 0) -> None:
        self.share, self.seed = _share(share), seed

    @property
    def gamma(self) -> float:
        """Measured with tracking on rings."""
        return self.share

    @property
    def gamma_with_memory(self) -> float:
        """Measured."""
        return self.share / 10

    def encode(self, rows: Tensor, agents: Sequence[int], step: int) -> Tensor:
        return _as_bytes(rows.gather(1, self._places(agents, step, rows)).float())

    def decode(self, message: Tensor, agents: Sequence[int], step: int, width: int) -> Tensor:
        decoded = torch.zeros(len(message), width, device=message.device)
        return decoded.scatter_(1, self._places(agents, step, decoded), _from_bytes(message, torch.float32))

    def _places(self, agents: Sequence[int], step: int, rows: Tensor) -> Tensor:
        count, width = _count(self.share, rows.shape[1]), rows.shape[1]
        seeds = (bits(self.seed, _STREAM, step, np.asarray(agents)) >> np.uint64(1)).tolist()
        drawn = [torch.randperm(width, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack([places[:count] for places in drawn]).to(rows.device)


class ScaledSign:
    """One bit a number, and the mean size of a block of them.

    Args:
        block: numbers that share a size.

    >>> compressor = ScaledSign()
    >>> compressor.decode(compressor.encode(torch.tensor([[1.0, -3.0]]), [0], 0), [0], 0, 2)
    tensor([[ 2., -2.]])
    """

    def __init__(self, block: int = 512) -> None:
        self.block = _block(block)

    @property
    def gamma(self) -> float:
        """Measured with tracking on rings."""
        return 0.4

    @property
    def gamma_with_memory(self) -> float:
        """Measured: none is known with which a block of 60 signs converges."""
        return 0.0

    def encode(self, rows: Tensor, agents: Sequence[int], step: int) -> Tensor:
        blocks = _padded(rows.float(), self.block)
        counts = _padded(torch.ones_like(rows[:1], dtype=torch.float32), self.block).sum(dim=2)
        scales = blocks.abs().sum(dim=2) / counts
        signs = _padded((rows >= 0).to(torch.uint8), 8)
        return torch.cat(
            [_as_bytes(scales), (signs * _BITS.to(rows.device)).sum(dim=2, dtype=torch.uint8)], dim=1
        )

    def decode(self, message: Tensor, agents: Sequence[int], step: int, width: int) -> Tensor:
        sizes = 4 * math.ceil(width / self.block)
        scales = _from_bytes(message[:, :sizes], torch.float32)
        signs = (message[:, sizes:, None] & _BITS.to(message.device)).ne(0).flatten(1)[:, :width]
        return scales.repeat_interleave(self.block, dim=1)[:, :width] * (2 * signs.float() - 1)


class EightBit:
    """One byte a number: 255 levels between the largest of a block and its opposite.

    Args:
        block: numbers that share a scale.

    >>> compressor = EightBit()
    >>> compressor.decode(compressor.encode(torch.tensor([[1.0, -0.5]]), [0], 0), [0], 0, 2).mul(100).round()
    tensor([[100., -50.]])
    """

    def __init__(self, block: int = 512) -> None:
        self.block = _block(block)

    @property
    def gamma(self) -> float:
        """All the way: little is lost."""
        return 1.0

    @property
    def gamma_with_memory(self) -> float:
        """All the way."""
        return 1.0

    def encode(self, rows: Tensor, agents: Sequence[int], step: int) -> Tensor:
        blocks = _padded(rows.float(), self.block)
        scales = blocks.abs().amax(dim=2, keepdim=True) / 127
        levels = (blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)).round().to(torch.int8)
        return torch.cat(
            [
                _as_bytes(scales.squeeze(2)),
                levels.flatten(1)[:, : rows.shape[1]].contiguous().view(torch.uint8),
            ],
            dim=1,
        )

    def decode(self, message: Tensor, agents: Sequence[int], step: int, width: int) -> Tensor:
        sizes = 4 * math.ceil(width / self.block)
        scales = _from_bytes(message[:, :sizes], torch.float32)
        levels = message[:, sizes:].contiguous().view(torch.int8).float()
        return levels * scales.repeat_interleave(self.block, dim=1)[:, :width]


def _share(share: float) -> float:
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    return share


def _block(block: int) -> int:
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    return block


def _count(share: float, width: int) -> int:
    return max(1, round(share * width))


def _padded(rows: Tensor, block: int) -> Tensor:
    """``[m, parameters]`` as ``[m, blocks, block]``, the last filled up with zeros."""
    missing = -rows.shape[1] % block
    return torch.nn.functional.pad(rows, (0, missing)).reshape(len(rows), -1, block)


def _as_bytes(values: Tensor) -> Tensor:
    return values.contiguous().view(torch.uint8)


def _from_bytes(message: Tensor, dtype: torch.dtype) -> Tensor:
    # A slice of one row counts as contiguous, and still has the stride of the whole, which no float32 has.
    return message.clone(memory_format=torch.contiguous_format).view(dtype)
