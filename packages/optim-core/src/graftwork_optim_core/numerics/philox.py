"""Random numbers that are a function of what they are for: Philox 4x32-10 and normal numbers made of it.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011: ten rounds over
four words of 32 bits x0..x3 under a key of two, k0 and k1. With the 64-bit products P = 0xD2511F53 x0 and
Q = 0xCD9E8D57 x2, a round is

    x0, x1, x2, x3  <-  high(Q) ^ x1 ^ k0,  low(Q),  high(P) ^ x3 ^ k1,  low(P)

after which k0 grows by 0x9E3779B9 and k1 by 0xBB67AE85. Here the key is the seed's lower and upper half, and
the four words are the block, the moment (which step, or which interval), the parameter's index and the
role: what the numbers are for. Element e of a tensor, counted row by row, is number e % 4 of block e // 4.
So the numbers depend neither on the device nor on how a tensor is sharded nor on the order of visits, and
there is no state to save.

Normal numbers are Box and Muller's, in float32: of the words x0, x1

    u1 = ((x0 >> 8) + 1) / 2**24,    u2 = (x1 >> 8) / 2**24
    n0, n1 = sqrt(-2 ln u1) cos(2 pi u2),  sqrt(-2 ln u1) sin(2 pi u2)

and n2, n3 of x2, x3 alike. No number is beyond 5.77. With u2 >= 1/2 the angle is taken as 2 pi (u2 - 1),
which is closer to 0 and so more exact. The words are equal bit by bit everywhere; the normal numbers of two
devices may differ by the rounding of their logarithm and cosine, some parts in ten million.

Shapes: words ``[..., 4]`` int64 from 0 below 2**32, normal numbers ``[count]`` float32. Raises ValueError
where a number does not fit its word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
RADIANS_PER_UNIT = float(torch.tensor(2 * math.pi, dtype=torch.float32)) * 2.0**-24
"""2 pi in float32 over 2**24: scaled by a power of two, so that its product rounds like 2 pi u2 does."""

_WORD = 0xFFFFFFFF
# A workspace of 1.5 MB keeps near the caches and hides what a call costs; elsewhere launches are what costs.
_CPU_BLOCKS = 1 << 15
_DEVICE_BLOCKS = 1 << 20


def normal(
    count: int,
    *,
    seed: int,
    moment: int | Tensor,
    parameter_index: int,
    role: int | Tensor,
    first: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the normal numbers of some elements of one tensor.

    Args:
        count: how many elements.
        seed: from 0 below 2**64.
        moment: which step or interval, from 0 below 2**32; a number, or an int64 tensor of one on the device.
        parameter_index: which tensor, from 0 below 2**32.
        role: what the numbers are for, from 0 below 2**32; a number, or a tensor like the moment.
        first: index of the first element in the whole tensor, row by row.
        device: where to; the CPU if None.

    Returns:
        ``[count]`` float32.

    >>> whole = normal(10, seed=1, moment=2, parameter_index=3, role=0)
    >>> torch.equal(normal(4, seed=1, moment=2, parameter_index=3, role=0, first=5), whole[5:9])
    True
    """
    return NormalBatch([(parameter_index, first, count)], device).draw(seed, moment, role)[0]


class NormalBatch:
    """The normal numbers of many tensors, or of runs of their elements, drawn in one pass.

    What depends on neither seed, moment nor role is made once, here.

    Args:
        entries: parameter index, first element and number of elements of every run.
        device: where the numbers are drawn; the CPU if None.

    Raises:
        ValueError: an entry does not fit the counter's words.

    >>> batch = NormalBatch([(0, 0, 6), (1, 2, 3)])
    >>> first, second = batch.draw(seed=0, moment=5, role=0)
    >>> first.shape, torch.equal(second, normal(3, seed=0, moment=5, parameter_index=1, role=0, first=2))
    (torch.Size([6]), True)
    """

    def __init__(
        self, entries: Sequence[tuple[int, int, int]], device: torch.device | str | None = None
    ) -> None:
        self.device = torch.device("cpu" if device is None else device)
        blocks, indices, self._runs = [], [], []
        block_count = 0
        for parameter_index, first, count in entries:
            _check_word("parameter_index", parameter_index)
            if first < 0 or count < 0 or first + count > 4 << 32:
                raise ValueError(
                    f"elements must lie from 0 below 2**34, got {count} elements from {first} "
                    f"of parameter {parameter_index}"
                )
            run = torch.arange(first // 4, -(-(first + count) // 4) if count else first // 4)
            blocks.append(run)
            indices.append(torch.full_like(run, parameter_index))
            self._runs.append((4 * block_count + first % 4, count))
            block_count += len(run)
        products = torch.empty(2, block_count, dtype=torch.int64)
        for row, words, multiplier in zip(products, (blocks, indices), MULTIPLIERS, strict=True):
            if words:
                torch.mul(torch.cat(words), multiplier, out=row)
        self._products = products.to(self.device)

    @property
    def flat_size(self) -> int:
        """How many float32 numbers :meth:`draw` writes: every run is filled up to whole blocks."""
        return 4 * self._products.shape[1]

    def draw(
        self, seed: int, moment: int | Tensor, role: int | Tensor, out: Tensor | None = None
    ) -> list[Tensor]:
        """Return the normal numbers of every run, ``[count]`` float32 each, in one storage.

        Args:
            seed: from 0 below 2**64.
            moment: which step or interval, from 0 below 2**32; a number, or an int64 tensor of one on the
                batch's device, which is not read back.
            role: what the numbers are for, likewise.
            out: ``[flat_size]`` float32, contiguous, to write to; a new tensor if None.

        Raises:
            ValueError: seed, moment or role out of range, or ``out`` is not as said.
        """
        _check_word("moment", moment)
        _check_word("role", role)
        if out is None:
            out = torch.empty(self.flat_size, dtype=torch.float32, device=self.device)
        elif out.shape != (self.flat_size,) or out.dtype != torch.float32 or not out.is_contiguous():
            raise ValueError(
                f"out must be {self.flat_size} contiguous float32 numbers, "
                f"got shape {tuple(out.shape)} in {out.dtype} with strides {out.stride()}"
            )
        block_count = self._products.shape[1]
        most = min(block_count, _CPU_BLOCKS if self.device.type == "cpu" else _DEVICE_BLOCKS)
        workspace = torch.empty(6, most, dtype=torch.int64, device=self.device)
        for start in range(0, block_count, most or 1):
            products = self._products[:, start : start + most]
            part = workspace[:, : products.shape[1]]
            words = _run_rounds((products[0], products[1]), moment, role, seed, part)
            _write_normal(words, out[4 * start : 4 * (start + most)].view(-1, 2, 2), part)
        return [out[start : start + count] for start, count in self._runs]


def _run_rounds(
    products: tuple[Tensor, Tensor],
    moment: int | Tensor,
    role: int | Tensor,
    seed: int,
    workspace: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the words in rows 0, 3, 1 and 2 of the workspace ``[6, blocks]``, rows 4 and 5 being free.

    Args:
        products: of block and parameter index with their multipliers, ``[blocks]`` each; left alone.

    Words 1 and 3 are whole products, to be cut to their lower half.
    """
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be from 0 below 2**64, got {seed}")
    keys = [seed & _WORD, seed >> 32]
    x0, x2, p, q, free_p, free_q = workspace
    x1, x3 = moment, role
    first, second = products
    for step in range(ROUNDS):
        if step:
            # Products wrap around to the 64 bits they have, as two's complement.
            first, second = torch.mul(x0, MULTIPLIERS[0], out=p), torch.mul(x2, MULTIPLIERS[1], out=q)
            p, q, free_p, free_q = free_p, free_q, p, q
        torch.bitwise_right_shift(second, 32, out=x0).bitwise_xor_(x1).bitwise_xor_(keys[0]).bitwise_and_(
            _WORD
        )
        torch.bitwise_right_shift(first, 32, out=x2).bitwise_xor_(x3).bitwise_xor_(keys[1]).bitwise_and_(
            _WORD
        )
        x1, x3 = second, first
        keys = [(key + increment) & _WORD for key, increment in zip(keys, KEY_INCREMENTS, strict=True)]
    return x0, second, x2, first


def _write_normal(words: tuple[Tensor, Tensor, Tensor, Tensor], out: Tensor, workspace: Tensor) -> None:
    """Write the normal numbers of all blocks to ``[blocks, 2, 2]``; the words are lost.

    No operand but the last product's target has gaps: over gaps torch takes another logarithm, whose last bit
    may be another, and the number of an element would depend on where it lies.
    """
    radius, angle = workspace[4].view(torch.float32).chunk(2)
    wave = workspace[5].view(torch.float32)[: out.shape[0]]
    for pair in range(2):
        for_radius, for_angle = words[2 * pair : 2 * pair + 2]
        radius.copy_(for_radius.bitwise_right_shift_(8)).add_(1).mul_(2.0**-24).log_().mul_(-2).sqrt_()
        # Up and down again: the shift down fills with the sign, which takes 2**24 from the upper half.
        angle.copy_(for_angle.bitwise_left_shift_(32).bitwise_right_shift_(40)).mul_(RADIANS_PER_UNIT)
        torch.mul(radius, torch.cos(angle, out=wave), out=out[:, pair, 0])
        torch.mul(radius, torch.sin(angle, out=wave), out=out[:, pair, 1])


def _check_word(name: str, number: int | Tensor) -> None:
    if not isinstance(number, Tensor) and not 0 <= number <= _WORD:
        raise ValueError(f"{name} must be from 0 below 2**32, got {number}")
