"""Uniformly random bases that three integers determine.

Source: GoLore, arXiv:2410.11289: the basis is uniform on the Stiefel manifold, all ``[size, rank]`` matrices
with orthonormal columns, and independent of the gradient, so that ``E[P P^T] = (rank / size) I``. Here it is
the orthonormal factor of a Gaussian matrix with the signs of the triangle's diagonal folded in (Mezzadri,
"How to generate random matrices from the classical compact groups", arXiv:math-ph/0609050).

The stream is a function of (seed, weight's index, refreshes so far): every process makes the same basis
without communication, and it can be made again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_optim_core.lowrank.linear_algebra import orthonormal_columns

Seed = tuple[int, int, int]
"""The user's seed, the weight's index, its refreshes so far."""

_BITS_64 = (1 << 64) - 1


def mixed_seed(seed: Seed) -> int:
    """Return 64 bits to which the three integers contribute evenly; neighbouring ones have nothing in common.

    Each is mixed in by one step of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014).

    Args:
        seed: any integers, of which 64 bits count.

    >>> mixed_seed((0, 0, 0)) == mixed_seed((0, 0, 1)), mixed_seed((1, 0, 0)) == mixed_seed((0, 1, 0))
    (False, False)
    """
    state = 0
    for number in seed:
        state = _splitmix64(state ^ (number & _BITS_64))
    return state


def _splitmix64(state: int) -> int:
    state = (state + 0x9E3779B97F4A7C15) & _BITS_64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _BITS_64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _BITS_64
    return state ^ (state >> 31)


def gaussian(size: int, rank: int, seed: Seed, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ``[size, rank]`` of independent standard normal numbers, equal on every device.

    Args:
        size, rank: of the result.
        seed: which numbers.
        dtype: float32 or float64, whose streams have nothing in common.
        device: where to put them; they are drawn on the CPU.

    >>> a, b = (gaussian(3, 2, (0, 0, count), torch.float32, torch.device("cpu")) for count in (0, 0))
    >>> torch.equal(a, b)
    True
    """
    # The CPU's generator takes the lower 32 bits of a seed only. That is why they are mixed, and it leaves
    # once in some 4e9 pairs two equal bases, which harms nothing: each is as uniform as before.
    generator = torch.Generator(device="cpu").manual_seed(mixed_seed(seed))
    return torch.randn(size, rank, generator=generator, dtype=dtype).to(device)


def random_basis(
    size: int,
    rank: int,
    seed: Seed,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return a uniformly random basis, the same for the same seed; on another device but for rounding.

    Args:
        size: of the space.
        rank: 1 to ``size``.
        seed: which basis.
        dtype: float32 or float64.
        device: of the result.

    Returns:
        ``[size, rank]`` with orthonormal columns.

    >>> basis = random_basis(6, 2, (0, 3, 1))
    >>> torch.allclose(basis.T @ basis, torch.eye(2), atol=1e-6)
    True
    """
    return orthonormal_columns(gaussian(size, rank, seed, dtype, torch.device(device)))
