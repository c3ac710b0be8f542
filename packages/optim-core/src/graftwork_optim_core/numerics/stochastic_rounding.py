"""Stochastic rounding from float32 to bfloat16, whose random bits are a function of where and when.

A bfloat16 number is the upper half of a float32 number. Adding a uniform random number of 16 bits to the
float32 number's bits and cutting the lower half off rounds away from zero with the probability
``(|x| - below) / (above - below)``, so that the mean over the random bits is x.

The random bits are a hash of the element's index and of the seed parts, such as the seed, the parameter's
index and the step. There is no generator and so no state to save; a step that is repeated rounds alike, and a
run of rows rounds like the same rows of the whole. The hash is Murmur3's 32-bit finalizer (Appleby, public
domain) over a counter, with a second key between its rounds; one hash serves two elements.

Numbers that bfloat16 represents stay, subnormal ones and infinities too, and NaN stays NaN. Above bfloat16's
largest number, 3.39e38, values are rounded to nearest, so that only those become infinite that would anyway;
there the mean is not x.

Shapes: any. Raises ValueError where an argument is not as said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

_Whole = TypeVar("_Whole", int, Tensor, int | Tensor)

_LARGEST = float(torch.finfo(torch.bfloat16).max)


def round_stochastically(values: Tensor, seed_parts: Sequence[int | Tensor], first_index: int = 0) -> Tensor:
    """Return the values in bfloat16, each rounded up or down at random and without bias.

    Args:
        values: float32, any shape; left alone.
        seed_parts: what the random bits depend on besides the index, in this order; whole numbers, or
            tensors of one whole number in any dtype on the values' device, which are not read back. Numbers
            first and tensors last costs the fewest operations.
        first_index: index of the first element in the whole, row by row, 0 or more. Indices count modulo
            2**33.

    Returns:
        bfloat16, of the same shape.

    >>> rounded = [float(round_stochastically(torch.tensor(1.001), (0, step))) for step in range(1000)]
    >>> sorted(set(rounded)), abs(sum(rounded) / 1000 - 1.001) < 0.0005
    ([1.0, 1.0078125], True)
    """
    if values.dtype != torch.float32:
        raise ValueError(f"values must be float32, got {values.dtype}")
    if first_index < 0:
        raise ValueError(f"first_index must be 0 or more, got {first_index}")
    noise = _random_bits(values.numel(), seed_parts, first_index, values.device)
    # int16 and not 16 bits: adding half the range makes it uniform from 0.
    bits = values.flatten().view(torch.int32).add(noise).add_(2**15)
    rounded = bits.bitwise_and_(-(2**16)).view(torch.float32).view(values.shape)
    return torch.where(values.abs() <= _LARGEST, rounded, values).to(torch.bfloat16)


_GOLDEN_RATIO = -0x61C8864680B583EB
"""2**64 divided by the golden ratio, and below 2**32, as signed integers."""
_GOLDEN_RATIO_32 = -0x61C88647
_MURMUR_64 = (-0x00AE502812AA7333, -0x3B314601E57A13AD)
_MURMUR_32 = (-0x7A143595, -0x3D4D51CB)


def _random_bits(
    count: int, seed_parts: Sequence[int | Tensor], first_index: int, device: torch.device
) -> Tensor:
    """Return ``[count]`` int16, uniform over all of them."""
    first, odd = divmod(first_index, 2)
    keys = _keys(seed_parts)
    value = torch.arange((odd + count + 1) // 2, dtype=torch.int32, device=device)
    value.mul_(_GOLDEN_RATIO_32).add_(keys[0]).add_(_wrap(first * _GOLDEN_RATIO_32, 32))
    value.bitwise_xor_(_shifted(value, 16, 32)).mul_(_MURMUR_32[0]).add_(keys[1])
    value.bitwise_xor_(_shifted(value, 13, 32)).mul_(_MURMUR_32[1])
    value.bitwise_xor_(_shifted(value, 16, 32))
    return value.view(torch.int16)[odd : odd + count]


def _keys(seed_parts: Sequence[int | Tensor]) -> Sequence[int] | Tensor:
    """Return two int32 that depend on every part and its place."""
    state: int | Tensor = 0
    for part in seed_parts:
        number = part.reshape(()).to(torch.int64) if isinstance(part, Tensor) else _wrap(part, 64)
        state = _mixed(_as_int64(state + _GOLDEN_RATIO) + number)
    if isinstance(state, Tensor):
        return state.reshape(1).view(torch.int32)
    return _wrap(state, 32), _wrap(state >> 32, 32)


def _mixed(value: int | Tensor) -> int | Tensor:
    """Return Murmur3's 64-bit finalizer."""
    value = _as_int64(value)
    for factor in _MURMUR_64:
        value = _as_int64((value ^ _shifted(value, 33, 64)) * factor)
    return value ^ _shifted(value, 33, 64)


def _shifted(value: _Whole, places: int, bits: int) -> _Whole:
    """Shift right and fill with zeros, where ``>>`` of a signed integer fills with its sign."""
    return (value >> places) & ((1 << (bits - places)) - 1)


def _as_int64(value: int | Tensor) -> int | Tensor:
    return value if isinstance(value, Tensor) else _wrap(value, 64)


def _wrap(value: int, bits: int) -> int:
    """Cut an integer to so many bits, signed, as integer tensors do by themselves."""
    return (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))
